"""What only looks at a folder knows a published class by the words that its file says."""

from mergebarrier import modeling_mergebarrier, published


def test_the_published_file_says_the_words_that_we_know_it_by() -> None:
    assert modeling_mergebarrier.PLAN == published.PLAN
    assert modeling_mergebarrier.MODELING == published.MODELING
