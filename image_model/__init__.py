"""How the embedded image model is made: data, training, evaluation and packaging. See README.md."""
