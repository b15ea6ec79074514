"""Every merge method that learns from data, by the name that flags and manifests use."""

from mergebarrier.merge.learned.adamerging import AdaMerging
from mergebarrier.merge.learned.concrete import Concrete
from mergebarrier.merge.learned.fisher import Fisher
from mergebarrier.merge.learned.method import DataMerge
from mergebarrier.merge.learned.regmean import RegMean, RegMeanPlus

DATA_MERGES: dict[str, type[DataMerge]] = {
    "fisher": Fisher,
    "regmean": RegMean,
    "regmean_plus": RegMeanPlus,
    "adamerging": AdaMerging,
    "concrete": Concrete,
}
