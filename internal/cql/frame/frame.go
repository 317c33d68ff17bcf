// Package frame reads and writes the frames of the CQL native protocol,
// versions 3 and 4 (native_protocol_v3.spec, native_protocol_v4.spec in the
// Apache Cassandra sources).
//
// It is the first and the last step of a CQL call: bytes to a request and a
// response to bytes. Requests are decoded into structs that their owner uses
// again; values stay slices of the frame's buffer. Responses are appended to
// one growing buffer that becomes the frame. It knows no connection, statement
// or type.
package frame

import (
	"encoding/binary"

	"spoor/internal/cql"
)

// HeaderSize is the length of a frame's header.
const HeaderSize = 9

// The limits on a frame's body, in bytes.
const (
	// MaxBody is the protocol's own limit (native_protocol_v4.spec, section 2.5).
	MaxBody = 256 << 20
	// DefaultMaxBody is what a server accepts when nothing else is configured:
	// the default of Cassandra's native_transport_max_frame_size_in_mb since 4.0.
	DefaultMaxBody = 16 << 20
)

// The bits of a version byte.
const (
	directionResponse = 0x80
	versionMask       = 0x7F
)

// Flags are a frame's flags (section 2.2).
type Flags uint8

// The flags.
const (
	FlagCompressed    Flags = 0x01
	FlagTracing       Flags = 0x02
	FlagCustomPayload Flags = 0x04
	FlagWarning       Flags = 0x08
)

// Opcode is a frame's kind of message (section 2.4).
type Opcode uint8

// The opcodes.
const (
	OpError         Opcode = 0x00
	OpStartup       Opcode = 0x01
	OpReady         Opcode = 0x02
	OpAuthenticate  Opcode = 0x03
	OpOptions       Opcode = 0x05
	OpSupported     Opcode = 0x06
	OpQuery         Opcode = 0x07
	OpResult        Opcode = 0x08
	OpPrepare       Opcode = 0x09
	OpExecute       Opcode = 0x0A
	OpRegister      Opcode = 0x0B
	OpEvent         Opcode = 0x0C
	OpBatch         Opcode = 0x0D
	OpAuthChallenge Opcode = 0x0E
	OpAuthResponse  Opcode = 0x0F
	OpAuthSuccess   Opcode = 0x10
)

var opcodeNames = [...]string{
	OpError: "ERROR", OpStartup: "STARTUP", OpReady: "READY", OpAuthenticate: "AUTHENTICATE",
	OpOptions: "OPTIONS", OpSupported: "SUPPORTED", OpQuery: "QUERY", OpResult: "RESULT", OpPrepare: "PREPARE",
	OpExecute: "EXECUTE", OpRegister: "REGISTER", OpEvent: "EVENT", OpBatch: "BATCH",
	OpAuthChallenge: "AUTH_CHALLENGE", OpAuthResponse: "AUTH_RESPONSE", OpAuthSuccess: "AUTH_SUCCESS",
}

// String is the opcode's name; empty for an opcode that does not exist.
func (o Opcode) String() string {
	if int(o) < len(opcodeNames) {
		return opcodeNames[o]
	}
	return ""
}

// IsRequest reports whether a client may send o.
func (o Opcode) IsRequest() bool {
	switch o {
	case OpStartup, OpOptions, OpQuery, OpPrepare, OpExecute, OpRegister, OpBatch, OpAuthResponse:
		return true
	}
	return false
}

// Header is a frame's header.
type Header struct {
	Version cql.ProtocolVersion
	Flags   Flags
	Stream  int16
	Opcode  Opcode
	Length  int32 // of the body, as it goes over the wire
}

// EventStream is the stream of frames that no request asked for.
const EventStream int16 = -1

// ParseRequestHeader reads the header of a request. b holds HeaderSize bytes.
//
// The Header is valid as far as it could be read also when there is an error,
// so that the error can be answered on the stream it belongs to; its Version is
// then one that the answer may have. Every error is final for the connection:
// what follows cannot be told apart into frames.
func ParseRequestHeader(b []byte, maxBody int) (Header, *cql.Error) {
	_ = b[HeaderSize-1]
	version := cql.ProtocolVersion(b[0] & versionMask)
	h := Header{
		Version: version,
		Flags:   Flags(b[1]),
		Stream:  int16(binary.BigEndian.Uint16(b[2:])),
		Opcode:  Opcode(b[4]),
		Length:  int32(binary.BigEndian.Uint32(b[5:])),
	}
	if version < cql.MinProtocol || version > cql.MaxProtocol {
		// The stream and the text are those of Cassandra 3: some drivers only fall
		// back to another version when the answer is on stream 0, others read the
		// greatest version from the text.
		h.Version, h.Stream = cql.MaxProtocol, 0
		return h, cql.ProtocolError("Invalid or unsupported protocol version (%d); the lowest supported version is %d and the greatest is %d",
			version, cql.MinProtocol, cql.MaxProtocol)
	}
	if b[0]&directionResponse != 0 {
		return h, cql.ProtocolError("Wrong protocol direction, expected REQUEST, got RESPONSE")
	}
	if h.Opcode.String() == "" {
		return h, cql.ProtocolError("Unknown opcode %d", h.Opcode)
	}
	if !h.Opcode.IsRequest() {
		return h, cql.ProtocolError("Wrong protocol direction, expected REQUEST, got RESPONSE for opcode %s", h.Opcode)
	}
	if h.Length < 0 || int(h.Length) > maxBody {
		return h, cql.ProtocolError("Request is too big: length %d exceeds maximum allowed length %d.", uint32(h.Length), maxBody)
	}
	return h, nil
}

// AppendRequestHeader appends a request's header; tests and load generators
// speak as clients with it.
func AppendRequestHeader(dst []byte, h Header) []byte {
	dst = append(dst, byte(h.Version), byte(h.Flags))
	dst = binary.BigEndian.AppendUint16(dst, uint16(h.Stream))
	dst = append(dst, byte(h.Opcode))
	return binary.BigEndian.AppendUint32(dst, uint32(h.Length))
}
