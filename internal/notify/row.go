package notify

// formatVersion is the version of every row that this package writes.
const formatVersion = 1
