// Package crashpoint names the moments between durable steps at which the
// crash runs of test/crash end the server.
//
// A program built as usual has none of it: Here is empty there, is inlined to
// nothing, and no setting brings it back. Built with the tag "crashpoints", the
// program kills itself with SIGKILL when it comes by the point that
// SPOOR_CRASH_AT names (NAME or NAME:N, the Nth time). A kill from outside can
// hit such a moment by luck only.
package crashpoint
