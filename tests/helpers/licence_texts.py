"""Licence files in our own words around the phrases that tell them apart, and how long such a text is."""

_CLAUSE = "you may use copy and share the work under these terms as long as this text stays with it. "


def text(title: str, *phrases: str, length: int = 3000) -> bytes:
    """Return a file that starts with a title, holds the phrases, and is about ``length`` characters long."""
    filling = _CLAUSE * (max(0, length - len(title) - sum(map(len, phrases))) // len(_CLAUSE))
    return f"{title}\n\n{filling}\n{' '.join(phrases)}\n".encode()


MIT = text(
    "MIT License",
    "Permission is hereby granted, free of charge, to any person obtaining a copy of this software.",
    'THE SOFTWARE IS PROVIDED "AS IS", without warranty.',
    length=900,
)
_BSD = ("Redistributions of source code must retain the notice.", 'provided "AS IS" AND any warranties are disclaimed')
TEXTS: dict[str, bytes] = {
    "apache-2.0": text("Apache License\nVersion 2.0, January 2004", "3. Grant of Patent License.", length=9000),
    "mit": MIT,
    "isc": text("ISC", "Permission to use, copy, modify, and/or distribute this software for any purpose with or "
                "without fee is hereby granted", length=700),
    "bsd-2-clause": text("BSD", *_BSD, length=1200),
    "bsd-3-clause": text("BSD", *_BSD, "Neither the name of the holder may be used", length=1400),
    "gpl-2.0": text("GNU GENERAL PUBLIC LICENSE\nVersion 2, June 1991", length=17_000),
    "gpl-3.0": text("GNU GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007",
                    "the GNU Affero General Public License, the GNU Lesser General Public License", length=33_000),
    "agpl-3.0": text("GNU AFFERO GENERAL PUBLIC LICENSE\nVersion 3, 19 November 2007", length=33_000),
    "lgpl-2.1": text("GNU LESSER GENERAL PUBLIC LICENSE\nVersion 2.1, February 1999", length=25_000),
    "lgpl-3.0": text("GNU LESSER GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007", length=7_000),
    "cc-by-4.0": text("Attribution 4.0 International", "Creative Commons Attribution 4.0 International", length=18_000),
    "cc-by-sa-4.0": text("Attribution-ShareAlike 4.0 International", length=18_000),
    "cc-by-nc-4.0": text("Attribution-NonCommercial 4.0 International", length=18_000),
    "cc-by-nc-sa-4.0": text("Attribution-NonCommercial-ShareAlike 4.0 International", length=18_000),
    "cc-by-nd-4.0": text("Attribution-NoDerivatives 4.0 International", length=18_000),
    "cc-by-nc-nd-4.0": text("Attribution-NonCommercial-NoDerivatives 4.0 International", length=18_000),
    "cc-by-sa-3.0": text("Creative Commons Attribution-ShareAlike 3.0 Unported", length=18_000),
    "cc0-1.0": text("CC0 1.0 Universal", "the person who associated CC0 (the Affirmer)", length=6_000),
    "creativeml-openrail-m": text("CreativeML Open RAIL-M", "dated August 22, 2022", length=14_000),
    "openrail++": text("CreativeML Open RAIL++-M License", length=14_000),
    "bigscience-bloom-rail-1.0": text("BigScience RAIL License v1.0", length=14_000),
    "bigcode-openrail-m": text("BigCode Open RAIL-M v1 License Agreement", length=18_000),
    "llama2": text("LLAMA 2 COMMUNITY LICENSE AGREEMENT", length=7_000),
    "llama3": text("META LLAMA 3 COMMUNITY LICENSE AGREEMENT", length=8_000),
    "llama3.1": text("LLAMA 3.1 COMMUNITY LICENSE AGREEMENT", length=8_000),
    "llama3.3": text("LLAMA 3.3 COMMUNITY LICENSE AGREEMENT", length=8_000),
    "gemma": text("Gemma Terms of Use", length=10_000),
    "qwen": text("Qwen LICENSE AGREEMENT", "Alibaba Cloud", length=7_000),
    "qwen-research": text("Qwen RESEARCH LICENSE AGREEMENT", "Alibaba Cloud", length=7_000),
    "tongyi-qianwen": text("Tongyi Qianwen LICENSE AGREEMENT", length=6_000),
}  # fmt: skip
