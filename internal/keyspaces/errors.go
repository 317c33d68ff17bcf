package keyspaces

import (
	"errors"

	"spoor/internal/aws"
	"spoor/internal/cql"
)

// fail turns an error of CQL into one that carries both forms: the *cql.Error
// that the driver is answered, and the *aws.Error whose code and message the
// record shows. A syntax error's text may quote constants of the statement, so
// its record has a text of its own.
func fail(err error) error {
	var c *cql.Error
	if err == nil || !errors.As(err, &c) {
		return err
	}
	var a *aws.Error
	if errors.As(err, &a) {
		return err
	}
	a = &aws.Error{Op: "keyspaces", Kind: aws.Invalid, Code: "ValidationException", Message: "The statement was refused as invalid.", Err: err}
	switch c.Code {
	case cql.CodeUnauthorized:
		a.Kind, a.Code = aws.Denied, "AccessDenied"
		a.Message = c.Message
	case cql.CodeAlreadyExists:
		a.Kind, a.Code = aws.Conflict, "ConflictException"
		a.Message = c.Message
	case cql.CodeServer:
		a.Kind, a.Code, a.Message = aws.Internal, "InternalServerException", c.Message
	case cql.CodeOverloaded:
		a.Kind, a.Code, a.Message = aws.Throttled, "ThrottlingException", c.Message
	case cql.CodeSyntax:
		a.Message = "The statement has a syntax error."
	case cql.CodeInvalid, cql.CodeConfig:
		if isUnconfigured(c.Message) {
			a.Kind, a.Code, a.Message = aws.NotFound, "ResourceNotFoundException", c.Message
		}
	}
	return a
}

// unconfigured is Cassandra's answer to the name of a table that does not exist.
func unconfigured(table string) error { return cql.Invalid("unconfigured table %s", table) }

func isUnconfigured(message string) bool {
	return len(message) > 12 && message[:12] == "unconfigured"
}

// missing marks an error about an object that does not exist.
func missing(err *cql.Error) error {
	return &aws.Error{Op: "keyspaces", Kind: aws.NotFound, Code: "ResourceNotFoundException", Message: err.Message, Err: err}
}

// public marks an error of CQL whose text holds names only, no constant of the
// statement, so that the record may show it.
func public(err *cql.Error) error {
	return &aws.Error{Op: "keyspaces", Kind: aws.Invalid, Code: "ValidationException", Message: err.Message, Err: err}
}

// answer gives the error that the driver is told.
func answer(err error) error {
	if err == nil {
		return nil
	}
	var c *cql.Error
	if errors.As(err, &c) {
		return c
	}
	var a *aws.Error
	if errors.As(err, &a) {
		switch a.Kind {
		case aws.Denied:
			return &cql.Error{Code: cql.CodeUnauthorized, Message: a.Message, Err: err}
		case aws.Throttled, aws.Unavailable:
			return &cql.Error{Code: cql.CodeOverloaded, Message: a.Message, Err: err}
		}
	}
	return cql.ServerError(err)
}
