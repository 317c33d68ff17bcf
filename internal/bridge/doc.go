// Package bridge brings records as EventBridge's events to whom a rule names: a
// rule has an event pattern, and targets that get what matches it.
//
// It stands behind the journal. Each target of each rule is a reader of its own
// with a durable cursor and a notify.Loop, so that one which fails or hangs
// delays no other, and nothing delays the recorder. What a reader holds in
// memory is one batch; what it has yet to read stays in the journal, until it is
// taken or too old.
//
// Sources: EventBridge User Guide, "AWS service events delivered via AWS
// CloudTrail", "Event structure" and "Comparison operators for use in event
// patterns".
package bridge
