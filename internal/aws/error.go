package aws

import (
	"errors"
	"net/http"
	"strings"
)

// Kind says what sort of failure an Error is. Protocols map a kind to their
// own status where the code alone does not fix it.
type Kind uint8

const (
	Internal Kind = iota
	Invalid
	NotFound
	Conflict
	Denied
	Unauthenticated
	Throttled
	Unsupported
	LimitExceeded
	TooLarge
	Unavailable
)

// Error is the only error that reaches a client. Code and Message are shown;
// Err is for the log and errors.Is, never for the client.
type Error struct {
	Op      string // where it arose, "athena.StartQueryExecution"; for the log
	Kind    Kind
	Code    string // AWS's error code, "InvalidRequestException"
	Message string // the text a client sees; says what to change
	// Recorded stands in the call's record in Message's place, where that quotes
	// what a record must not hold; "" when it does not.
	Recorded string
	// Status overrides the HTTP status that the kind implies, when not 0.
	Status int
	// Encoded is a denial's sealed particulars, for
	// sts:DecodeAuthorizationMessage, or "".
	Encoded string
	// Fields are the further members of the modelled exception, by wire name.
	Fields map[string]any
	Err    error
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.Op != "" {
		b.WriteString(e.Op)
		b.WriteString(": ")
	}
	b.WriteString(e.Code)
	if e.Message != "" {
		b.WriteString(": ")
		b.WriteString(e.Message)
	}
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// HTTPStatus is the status that AWS's JSON and query protocols send.
func (e *Error) HTTPStatus() int {
	if e.Status != 0 {
		return e.Status
	}
	switch e.Kind {
	case Internal:
		return http.StatusInternalServerError
	case Unavailable:
		return http.StatusServiceUnavailable
	case Denied, Unauthenticated:
		return http.StatusBadRequest // the JSON protocols; query and S3 use 403 and map it there
	default:
		return http.StatusBadRequest
	}
}

// NewError makes an Error that a client may see.
func NewError(kind Kind, code, message string) *Error {
	return &Error{Kind: kind, Code: code, Message: message}
}

// AsError returns the Error in err's chain. Anything else becomes
// InternalFailure with a text that discloses nothing; the cause stays in Err
// for the log.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Kind: Internal, Code: "InternalFailure",
		Message: "The request processing has failed because of an unknown error, exception or failure.", Err: err}
}

// IsKind reports whether err's chain holds an Error of that kind.
func IsKind(err error, k Kind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == k
}
