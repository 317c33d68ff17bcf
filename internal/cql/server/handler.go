package server

import (
	"context"
	"crypto/tls"
	"net/netip"
	"sync/atomic"
	"time"

	"spoor/internal/cql"
	"spoor/internal/cql/ast"
	"spoor/internal/cql/frame"
)

// Session is what authentication found out about a connection's caller. It is
// opaque here and comes with each request of the connection.
type Session any

// Schemed is a Session of a server with several schemas. A change is told to the
// connections that see the schema it was made in; sessions that are not Schemed
// see one named "".
type Schemed interface{ SchemaName() string }

func schemaOf(s Session) string {
	if x, ok := s.(Schemed); ok {
		return x.SchemaName()
	}
	return ""
}

// ConnInfo describes a connection. It does not change after STARTUP and may be
// kept.
type ConnInfo struct {
	ID            uint64 // unique within the server's life, from 1
	Remote, Local netip.AddrPort
	// TLS is nil on a connection without TLS. TLS.ServerName is the name that
	// the client asked for.
	TLS      *tls.ConnectionState
	Protocol cql.ProtocolVersion
	// DriverName and DriverVersion are what STARTUP says; either may be empty.
	DriverName, DriverVersion string
	Since                     time.Time
}

// Request is one statement to execute: a QUERY, an EXECUTE or a PREPARE.
//
// A Request and all that it holds as bytes (values, paging state) belong to the
// handler until its method returns and are used again afterwards: what is to be
// kept must be copied. Statement, Prepared, Conn and Session may be kept.
type Request struct {
	Conn    *ConnInfo
	Session Session
	Stream  int16
	// Keyspace is the keyspace that names without one belong to: the
	// connection's current one or, for a prepared statement, the one that was
	// current when it was prepared. Empty when there is none.
	Keyspace  string
	Statement *ast.Parsed
	// Prepared is nil for a QUERY.
	Prepared *Prepared
	// Values are bound in the order of Statement.Markers, one for each. In a
	// PREPARE there are none.
	Values            []frame.Value
	Consistency       cql.Consistency
	SerialConsistency cql.Consistency
	PageSize          int32  // rows; 0: no paging
	PagingState       []byte // nil: from the start
	Timestamp         int64  // microseconds since the epoch, when HasTimestamp
	HasTimestamp      bool
}

// BatchEntry is one statement of a BatchRequest.
type BatchEntry struct {
	Statement *ast.Parsed
	Prepared  *Prepared     // nil when given by its text
	Keyspace  string        // as Request.Keyspace
	Values    []frame.Value // in the order of Statement.Markers
}

// BatchRequest is a BATCH message with at least one entry. (BEGIN BATCH …
// APPLY BATCH in a text is a Request whose statement is an *ast.Batch.) The
// rules of Request on keeping hold.
type BatchRequest struct {
	Conn              *ConnInfo
	Session           Session
	Stream            int16
	Keyspace          string
	Kind              ast.BatchKind
	Entries           []BatchEntry
	Consistency       cql.Consistency
	SerialConsistency cql.Consistency
	Timestamp         int64
	HasTimestamp      bool
}

// PreparedInfo describes a statement's markers and rows.
type PreparedInfo struct {
	// Bind has one column for each bind marker, in the order of
	// Statement.Markers. A ? is named after the column it stands for.
	Bind []frame.ColumnSpec
	// PartitionKey holds the places in Bind of the partition key's components,
	// in key order; nil unless the markers cover the whole partition key.
	PartitionKey []uint16
	// Result describes the rows; nil for a statement that returns none.
	Result *frame.Metadata
	// Plan is what the handler wants to find in Prepared.Plan.
	Plan any
}

// Handler executes statements. Its methods are called concurrently, also for one
// connection. ctx is cancelled when the connection closes or the server stops
// for good; a handler that has begun to change something finishes it regardless.
//
// An error is answered by the ERROR message of the *cql.Error in its chain, or
// by a ServerError that discloses nothing; res is then ignored. Without an error
// exactly one of res's RESULT methods must have been called.
type Handler interface {
	// Prepare checks a statement without executing it.
	Prepare(ctx context.Context, req *Request) (PreparedInfo, error)
	// Execute executes one statement.
	Execute(ctx context.Context, req *Request, res *frame.Response) error
	// ExecuteBatch executes the entries of a BATCH message as one.
	ExecuteBatch(ctx context.Context, req *BatchRequest, res *frame.Response) error
}

// Authenticator decides who may use a connection. Its methods are called
// concurrently. A *cql.Error of code BadCredentials is the refusal; any error
// closes the connection after its answer.
type Authenticator interface {
	// Class is the class name sent in AUTHENTICATE, by which drivers choose
	// their SASL mechanism.
	Class() string
	// Plain checks a user name and password (RFC 4616).
	Plain(ctx context.Context, conn *ConnInfo, user, password string) (Session, error)
	// SigV4 begins an exchange by AWS's signature version 4 for Cassandra
	// drivers. The nonce goes to the client as "nonce=<nonce>"; finish checks the
	// client's answer ("signature=…,access_key=…,amzdate=…[,session_token=…]")
	// and is called at most once.
	SigV4(ctx context.Context, conn *ConnInfo) (nonce string, finish func(ctx context.Context, response []byte) (Session, error), err error)
}

// Rejection is a connection's failure before it could execute statements, or a
// statement that never reached the handler.
type Rejection struct {
	Conn *ConnInfo
	// Session is nil before authentication.
	Session Session
	Reason  RejectReason
	// User is the user name that a failed PLAIN exchange gave; empty otherwise.
	User string
	// Err is what the client was told.
	Err *cql.Error
}

// RejectReason says what was refused.
type RejectReason uint8

// The reasons.
const (
	// RejectAuthentication is a wrong credential.
	RejectAuthentication RejectReason = iota + 1
	// RejectProtocol is a message that breaks the protocol or its limits.
	RejectProtocol
	// RejectSyntax is a statement that does not parse.
	RejectSyntax
)

// Prepared is a statement that PREPARE has registered. It may be used by
// concurrent requests of any connection.
type Prepared struct {
	ID        [16]byte
	Keyspace  string // current when it was prepared
	Statement *ast.Parsed
	Info      PreparedInfo

	plan   atomic.Pointer[planBox]
	bind   *frame.Metadata
	tables []ast.QualifiedName // what it touches, with the keyspace resolved
	names  []string            // the names that named values are bound by
}

type planBox struct{ plan any }

// Plan is what SetPlan stored last, at first PreparedInfo.Plan. A handler that
// caches a plan keeps in it the schema version that it was made for: a schema
// change removes the statements it touches from the server's cache, but
// executions that are under way go on with the old one.
func (p *Prepared) Plan() any {
	if b := p.plan.Load(); b != nil {
		return b.plan
	}
	return nil
}

// SetPlan replaces the plan.
func (p *Prepared) SetPlan(plan any) { p.plan.Store(&planBox{plan}) }
