"""Everything between a network and a trained one: optimiser steps, averages of weights, precision, checkpoints."""
