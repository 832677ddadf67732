"""Components of our own that a diffusers directory may name in its `model_index.json`.

Such an entry is `["openhearth.engine.image.retrieval.MODULE", "CLASS"]`, which is how diffusers saves a component of
that class. Only what `COMPONENTS` lists is loaded, by the class's own `from_pretrained`; a name is looked up here and
never imported because a directory has it. The module has to hold the base class that diffusers knows the component by,
such as `ModelMixin`, under its own name.
"""

COMPONENTS: set[tuple[str, str]] = {
    ("openhearth.engine.image.retrieval.patch_vae", "PatchVAE"),
    ("openhearth.engine.image.retrieval.unet", "RetrievalUNet"),
}
"""Modules and classes."""
