"""The data sets that come with kdzoo, one file each."""
