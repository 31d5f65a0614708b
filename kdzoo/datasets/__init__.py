"""The data sets that come with kdzoo, one file each, and the reading of class folders."""
