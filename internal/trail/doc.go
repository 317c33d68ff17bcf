// Package trail is what a trail does once it exists: it decides which events
// are recorded (call.Selector), and it delivers the selected records as log
// files and signed digests to a bucket.
//
// It stands behind the journal. A call is recorded before it is answered, and
// from then on a trail's follower reads the journal forward at its own pace,
// with a durable cursor. The cloudtrail package changes trails through a
// call's own transaction; this package never answers a call.
//
// Delivery is exactly once by construction. What a log file or digest holds
// and how it is named is made durable together with the reader's position
// before the first upload, so that an upload can be repeated at will: it
// writes the same bytes under the same name.
//
// Every change of a trail travels through the journal too: the change's row
// names the event id of the call that made it, and the follower applies it
// when it meets that record. So a log file holds exactly what the selectors in
// force at the time of each record say, however late the file is made.
package trail
