package cql

import (
	"errors"
	"fmt"
)

// WriteType says what kind of write timed out or failed.
type WriteType string

// The write types of the protocol.
const (
	WriteSimple        WriteType = "SIMPLE"
	WriteBatch         WriteType = "BATCH"
	WriteUnloggedBatch WriteType = "UNLOGGED_BATCH"
	WriteCounter       WriteType = "COUNTER"
	WriteBatchLog      WriteType = "BATCH_LOG"
	WriteCAS           WriteType = "CAS"
)

// Error is an ERROR message. Only Code and Message are set for most codes; the
// other fields are sent with the codes their comments name. Err is the cause,
// for the log and errors.Is; it never reaches the client.
type Error struct {
	Code    ErrorCode
	Message string

	// Consistency goes with Unavailable, WriteTimeout, ReadTimeout, WriteFailure
	// and ReadFailure.
	Consistency Consistency
	// Required is how many replicas had to answer (blockfor); for Unavailable,
	// how many had to be alive.
	Required int32
	// Received is how many answered; for Unavailable, how many were alive.
	Received int32
	// Failures is how many replicas failed; ReadFailure and WriteFailure only.
	Failures int32
	// DataPresent tells whether the replica asked for data answered; ReadTimeout
	// and ReadFailure only.
	DataPresent bool
	// WriteType goes with WriteTimeout and WriteFailure.
	WriteType WriteType

	// Keyspace goes with AlreadyExists and FunctionFailure.
	Keyspace string
	// Table goes with AlreadyExists; empty when the keyspace itself exists.
	Table string
	// Function and ArgTypes go with FunctionFailure.
	Function string
	ArgTypes []string

	// StatementID goes with Unprepared.
	StatementID []byte

	Err error
}

// Error gives the code's name, the message and the cause.
func (e *Error) Error() string {
	s := e.Code.String() + ": " + e.Message
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an error of the given code.
func Errorf(code ErrorCode, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Invalid is a statement that parses and cannot be executed.
func Invalid(format string, args ...any) *Error { return Errorf(CodeInvalid, format, args...) }

// Syntax is a statement that does not parse.
func Syntax(format string, args ...any) *Error { return Errorf(CodeSyntax, format, args...) }

// Unauthorized is a statement that the caller may not execute.
func Unauthorized(format string, args ...any) *Error {
	return Errorf(CodeUnauthorized, format, args...)
}

// Config is a schema statement with a wrong option.
func Config(format string, args ...any) *Error { return Errorf(CodeConfig, format, args...) }

// ProtocolError is a message that breaks the protocol.
func ProtocolError(format string, args ...any) *Error { return Errorf(CodeProtocol, format, args...) }

// Overloaded asks the client to slow down.
func Overloaded(format string, args ...any) *Error { return Errorf(CodeOverloaded, format, args...) }

// ServerError hides cause behind a text that discloses nothing.
func ServerError(cause error) *Error {
	return &Error{Code: CodeServer, Message: "An internal server error occurred.", Err: cause}
}

// BadCredentials is Cassandra's answer to a wrong user name or password.
func BadCredentials(user string) *Error {
	return Errorf(CodeBadCredentials, "Provided username %s and/or password are incorrect", user)
}

// AlreadyExists is a CREATE of something that is there. An empty table means
// that the keyspace exists. The texts are Cassandra's.
func AlreadyExists(keyspace, table string) *Error {
	msg := fmt.Sprintf("Cannot add existing keyspace %q", keyspace)
	if table != "" {
		msg = fmt.Sprintf("Cannot add already existing table %q to keyspace %q", table, keyspace)
	}
	return &Error{Code: CodeAlreadyExists, Message: msg, Keyspace: keyspace, Table: table}
}

// Unprepared answers EXECUTE or BATCH with an id that the server does not hold;
// drivers prepare again and repeat.
func Unprepared(id []byte) *Error {
	return &Error{Code: CodeUnprepared, StatementID: id,
		Message: fmt.Sprintf("Prepared query with ID %x not found (either the query was not prepared on this host "+
			"(maybe the host has been restarted?) or you have prepared too many queries and it has been evicted from the internal cache)", id)}
}

// ReadTimeout is a read whose replicas did not answer in time.
func ReadTimeout(c Consistency, received, required int32, dataPresent bool) *Error {
	return &Error{Code: CodeReadTimeout, Consistency: c, Received: received, Required: required, DataPresent: dataPresent,
		Message: fmt.Sprintf("Operation timed out - received only %d responses.", received)}
}

// WriteTimeout is a write whose outcome is unknown: it may or may not be applied.
func WriteTimeout(c Consistency, received, required int32, w WriteType) *Error {
	return &Error{Code: CodeWriteTimeout, Consistency: c, Received: received, Required: required, WriteType: w,
		Message: fmt.Sprintf("Operation timed out - received only %d responses.", received)}
}

// Unavailable is a statement for which too few replicas are alive.
func Unavailable(c Consistency, required, alive int32) *Error {
	return &Error{Code: CodeUnavailable, Consistency: c, Required: required, Received: alive,
		Message: "Cannot achieve consistency level " + c.String()}
}

// AsError returns the Error in err's chain, or a ServerError around err.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return ServerError(err)
}
