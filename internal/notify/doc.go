// Package notify brings messages about what was recorded and delivered to
// places outside the server: at least once, in order for each target.
//
// It stands behind the journal and beside delivery. Who owes a target something
// makes that durable first: as a row of the Outbox, in the batch of what the
// message tells of, or as a position in the journal. A Loop for each target
// takes what is owed next, sends it and only then, in one batch, notes that it
// was taken. A target that fails delays nobody else.
//
// Crash story: between a target's acknowledgement and that batch, a crash makes
// the message go out again, with the same id. There is no point at which a
// message is neither owed nor acknowledged nor in the dead-letter file, which is
// synced before what is owed is forgotten.
package notify
