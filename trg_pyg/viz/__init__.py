"""Pictures, drawn with matplotlib (the optional extra ``viz``): one kind a module; import what you need from it."""
