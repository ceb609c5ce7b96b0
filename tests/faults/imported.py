"""What a command imports on its way, for the process that children are forked from. No thread may be started here."""

import warnings

# The first import of these warns of what others deprecate.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import matplotlib.backends.backend_agg
    import matplotlib.backends.backend_svg  # noqa: F401
    import scipy.stats  # noqa: F401
    import transformers.models.gemma2.modeling_gemma2  # noqa: F401
    from transformer_lens.model_bridge import TransformerBridge  # noqa: F401

    import saeattr.api
    import saeattr.cli
    import saeattr.neuronpedia.inspection
    import saeattr.reporting.figures.study
    import saeattr.reporting.page.make
    import saeattr.reporting.terminal.inspection
    import saeattr.reporting.terminal.listings
    import saeattr.reporting.terminal.study  # noqa: F401
