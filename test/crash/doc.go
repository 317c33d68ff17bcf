// Package crash kills the server over and over under load and then counts:
// every acknowledged call was recorded, and delivered, exactly once.
//
// A run (TestCrash) has two worlds, one server each: one over the embedded
// object storage, which is killed with it, and one over an S3 elsewhere, behind
// a proxy that refuses, loses, delays and half-does requests. A kill comes
//
//   - at a random time, also while the server recovers from the kill before,
//   - at a named point between two durable steps (internal/crashpoint; the
//     server is built with the tag for it), or
//   - at the proxy, when an upload arrives or when it was applied and before its
//     answer is passed on, which needs nothing inside the server.
//
// Which ones, in which order and under which faults follows from the seed, which
// is printed; SEED repeats a schedule (though not the moments, which depend on
// the machine). A run in which a phase had no kill fails.
//
// Meanwhile clients call everything that has an effect: rows (also conditional
// and in batches), objects (also in parts, copied and deleted), users, queries,
// audit events; and calls that fail or are denied. The ledger is their own list
// of what was acknowledged. At the end the evidence is collected from every
// place that should hold a record: the bucket, the event data store, event
// history, the live tail, Athena's table over the bucket. judge holds ledger and
// places against each other, and `spoor verify` and `aws cloudtrail
// validate-logs` have their say. TestOracle shows that judge finds what it must.
package crash
