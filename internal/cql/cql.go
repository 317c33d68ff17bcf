// Package cql is the vocabulary that the parts of the CQL endpoint share: the
// one error type a Cassandra driver ever sees, consistency levels, and protocol
// versions. It imports nothing of this module.
//
// A CQL call passes frame (bytes to request), server (connection, SASL,
// prepared statements), parser and ast (text to statement), the statement
// handler, and comes back through frame as a RESULT or an ERROR.
package cql

import (
	"fmt"
	"strconv"
)

// Version is the CQL language version this endpoint speaks. Amazon Keyspaces
// shows the same text as apiVersion of its CloudTrail records.
const Version = "3.4.4"

// ProtocolVersion is a native protocol version, without the direction bit.
type ProtocolVersion uint8

// The protocol versions that are spoken. A client that asks for another one is
// told so in a frame of MaxProtocol, with the text from which drivers negotiate.
const (
	Protocol3   ProtocolVersion = 3
	Protocol4   ProtocolVersion = 4
	MinProtocol                 = Protocol3
	MaxProtocol                 = Protocol4
)

// Consistency is a consistency level (native_protocol_v4.spec, section 3).
type Consistency uint16

// The consistency levels of the protocol.
const (
	Any         Consistency = 0x0000
	One         Consistency = 0x0001
	Two         Consistency = 0x0002
	Three       Consistency = 0x0003
	Quorum      Consistency = 0x0004
	All         Consistency = 0x0005
	LocalQuorum Consistency = 0x0006
	EachQuorum  Consistency = 0x0007
	Serial      Consistency = 0x0008
	LocalSerial Consistency = 0x0009
	LocalOne    Consistency = 0x000A
)

var consistencyNames = [...]string{
	Any: "ANY", One: "ONE", Two: "TWO", Three: "THREE", Quorum: "QUORUM", All: "ALL",
	LocalQuorum: "LOCAL_QUORUM", EachQuorum: "EACH_QUORUM", Serial: "SERIAL",
	LocalSerial: "LOCAL_SERIAL", LocalOne: "LOCAL_ONE",
}

// Valid reports whether c is one of the protocol's levels.
func (c Consistency) Valid() bool { return int(c) < len(consistencyNames) }

// IsSerial reports whether c is a level for the conditional part of a statement.
func (c Consistency) IsSerial() bool { return c == Serial || c == LocalSerial }

// String is the level's name as CQL shells write it.
func (c Consistency) String() string {
	if c.Valid() {
		return consistencyNames[c]
	}
	return "UNKNOWN(" + strconv.Itoa(int(c)) + ")"
}

// ErrorCode is the code of an ERROR message (native_protocol_v4.spec, section 9).
type ErrorCode int32

// The error codes of the protocol.
const (
	CodeServer          ErrorCode = 0x0000
	CodeProtocol        ErrorCode = 0x000A
	CodeBadCredentials  ErrorCode = 0x0100
	CodeUnavailable     ErrorCode = 0x1000
	CodeOverloaded      ErrorCode = 0x1001
	CodeBootstrapping   ErrorCode = 0x1002
	CodeTruncate        ErrorCode = 0x1003
	CodeWriteTimeout    ErrorCode = 0x1100
	CodeReadTimeout     ErrorCode = 0x1200
	CodeReadFailure     ErrorCode = 0x1300
	CodeFunctionFailure ErrorCode = 0x1400
	CodeWriteFailure    ErrorCode = 0x1500
	CodeSyntax          ErrorCode = 0x2000
	CodeUnauthorized    ErrorCode = 0x2100
	CodeInvalid         ErrorCode = 0x2200
	CodeConfig          ErrorCode = 0x2300
	CodeAlreadyExists   ErrorCode = 0x2400
	CodeUnprepared      ErrorCode = 0x2500
)

var errorNames = map[ErrorCode]string{
	CodeServer: "ServerError", CodeProtocol: "ProtocolError", CodeBadCredentials: "BadCredentials",
	CodeUnavailable: "Unavailable", CodeOverloaded: "Overloaded", CodeBootstrapping: "IsBootstrapping",
	CodeTruncate: "TruncateError", CodeWriteTimeout: "WriteTimeout", CodeReadTimeout: "ReadTimeout",
	CodeReadFailure: "ReadFailure", CodeFunctionFailure: "FunctionFailure", CodeWriteFailure: "WriteFailure",
	CodeSyntax: "SyntaxException", CodeUnauthorized: "Unauthorized", CodeInvalid: "InvalidRequest",
	CodeConfig: "ConfigurationException", CodeAlreadyExists: "AlreadyExists", CodeUnprepared: "Unprepared",
}

// String is the code's name as Cassandra writes it.
func (c ErrorCode) String() string {
	if n, ok := errorNames[c]; ok {
		return n
	}
	return fmt.Sprintf("0x%04X", int32(c))
}
