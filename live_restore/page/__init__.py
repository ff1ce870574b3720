"""The live page: pictures, states and plots of a run in a browser. It reads only."""
