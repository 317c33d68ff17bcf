// Package call is the one path that every call walks, whichever protocol it
// came by: authorise, handle, record. Listeners decode and authenticate, then
// hand over to Path.Run; only what Run returned may be encoded as an answer.
//
// Services describe what they offer as Operations; they see no socket, and a
// handler can neither skip its authorisation nor its record.
package call

import (
	"context"
	"sync"
	"time"

	"spoor/internal/aws"
	"spoor/internal/kv"
	"spoor/internal/record"
)

// Call is what is known of a call besides its input.
type Call struct {
	RequestID string
	EventID   string
	Region    string
	AccountID string // the account called; the caller's own but for cross-account S3
	Caller    *aws.Caller
	// Identity is the caller's encoded form when the connection keeps one.
	Identity  *record.Identity
	Start     time.Time
	SourceIP  string
	UserAgent string
	TLS       *record.TLS
	// ViaService is the service principal on whose behalf a forwarded call is
	// made ("athena.amazonaws.com"); empty for a client's own call.
	ViaService string
	// Judged is the time that the call's permissions are judged by, when the call
	// is to be recorded with it; zero means the authoriser's clock.
	Judged time.Time

	// Tx collects the call's own writes. They become durable together with the
	// call's record, or not at all.
	Tx Tx
}

// Tx is the set of writes of one call.
//
// A handler reads the store, writes to the Tx and returns; nothing it wrote is
// visible before the record is durable. A handler that reads what it is about
// to change takes its service's lock with Lock first.
type Tx struct {
	store    *kv.Store
	batch    *kv.Batch
	held     []sync.Locker
	onCommit []func()
}

// NewTx makes a transaction over a store. Path.Run makes the ones of calls.
func NewTx(store *kv.Store) Tx { return Tx{store: store} }

// Lock takes l and keeps it until the writes are durable or given up. A
// handler takes at most one lock, so that no two can wait for each other.
func (t *Tx) Lock(l sync.Locker) {
	l.Lock()
	t.held = append(t.held, l)
}

// Batch returns the batch to write to; it makes one at first use.
func (t *Tx) Batch() *kv.Batch {
	if t.batch == nil {
		t.batch = t.store.NewBatch()
	}
	return t.batch
}

// Set writes a key. The slices are copied.
func (t *Tx) Set(key, value []byte) { t.Batch().Set(key, value) }

// Delete removes a key.
func (t *Tx) Delete(key []byte) { t.Batch().Delete(key) }

// DeleteRange removes all keys in [from, to).
func (t *Tx) DeleteRange(from, to []byte) { t.Batch().DeleteRange(from, to) }

// OnCommit runs fn once the writes are durable and before the locks are given
// back: the place to bring memory in line with the store and to start what
// must not start for a call that failed.
func (t *Tx) OnCommit(fn func()) { t.onCommit = append(t.onCommit, fn) }

// discard drops the writes of a call that failed; its record is still made.
func (t *Tx) discard() error {
	t.onCommit = nil
	if t.batch == nil {
		return nil
	}
	b := t.batch
	t.batch = nil
	return b.Close()
}

func (t *Tx) committed() {
	for _, fn := range t.onCommit {
		fn()
	}
	t.onCommit = nil
}

func (t *Tx) release() {
	for i := len(t.held) - 1; i >= 0; i-- {
		t.held[i].Unlock()
	}
	t.held = nil
}

// Permission is one thing that a caller must be allowed to do.
type Permission struct {
	Action   string // "athena:StartQueryExecution"
	Resource string // ARN, or "*" for actions without a resource
	// Context gives the call's own condition keys ("s3:prefix",
	// "aws:RequestTag/team"), lower-cased; the global keys are added by the
	// authoriser.
	Context map[string][]string
	// ResourcePolicy is the policy document attached to the resource, or "".
	ResourcePolicy string
	// ResourceAccount owns the resource; empty means the call's account.
	ResourceAccount string
	// Via is the service that would make this call for the caller
	// ("athena.amazonaws.com"); empty means the call's own ViaService.
	Via string
}

// Authorizer decides on permissions. It returns nil when every one is granted
// and otherwise an *aws.Error of kind Denied with AWS's message.
type Authorizer interface {
	Authorize(ctx context.Context, c *Call, perms []Permission) error
}

// Step is one call as Path sees it. A Step belongs to one call.
type Step interface {
	// Permissions appends what the caller needs. An error ends the call (a
	// malformed resource name, say) and is recorded.
	Permissions(c *Call, dst []Permission) ([]Permission, error)
	// Handle does the work and keeps the answer in the Step.
	Handle(ctx context.Context, c *Call) error
	// Events is how many records the call makes (a CQL batch: one a statement).
	Events() int
	// Category is the category of the i-th event; it must not depend on Handle.
	Category(i int) record.Category
	// Describe fills in what only the service knows: EventSource, EventName,
	// APIVersion, ReadOnly, parameters, response, resources. err is the call's
	// outcome. Secrets must not get into r.
	Describe(c *Call, i int, err error, r *record.Record)
	// External reports whether Handle has an effect outside the store. Then an
	// intent is made durable first, and a crash in between leaves a record
	// that says the outcome is unknown.
	External() bool
}

// Operation is one operation of an HTTP service.
type Operation struct {
	Name     string
	ReadOnly bool
	Data     bool // a data event
	External bool
	// Unsigned operations take their caller from their input, not from a
	// signature: whoever sends them is anonymous until Permissions, which may set
	// the call's Caller and AccountID, has proven more.
	Unsigned bool
	// EventName is the record's name where it differs from the operation's.
	EventName string
	// Omit lists input members whose value a record shows as ***OMITTED***.
	Omit []string
	// NoResponse leaves responseElements null although the call mutates.
	NoResponse bool
	// EmptyResult says that an answer without members still has its result
	// element in the query protocol, as the operation's model has a result.
	EmptyResult bool
	// NewInput makes the typed input to decode into.
	NewInput func() any
	// Permissions lists what a caller needs for this input.
	Permissions func(c *Call, in any) ([]Permission, error)
	// Handle does the work; out is the SDK's typed output.
	Handle func(ctx context.Context, c *Call, in any) (out any, err error)
	// Partial says what of AWS's behaviour the operation lacks; "" for none. It
	// goes into docs/OPERATIONS.md.
	Partial string
	// RefusedCode is the error that Handle always ends in, after its checks.
	RefusedCode string
	// Path is the operation's path in the REST protocol, QueryMembers the input
	// members that its query string carries.
	Path         string
	QueryMembers []string
	// Refused, when set, is the error of an operation that AWS has and this
	// server does not; Handle is not called then.
	Refused func() error
	// Describe adds to the record what the generic form lacks: resources, a
	// changed event name, additional data. May be nil.
	Describe func(c *Call, in, out any, err error, r *record.Record)
}

// Op makes an Operation from a typed handler. perms may be nil only for
// operations that AWS lets everybody call (sts:GetCallerIdentity).
func Op[I, O any](name string, perms func(c *Call, in *I) ([]Permission, error),
	handle func(ctx context.Context, c *Call, in *I) (*O, error), set ...func(*Operation)) Operation {
	op := Operation{
		Name:     name,
		NewInput: func() any { return new(I) },
		Handle: func(ctx context.Context, c *Call, in any) (any, error) {
			out, err := handle(ctx, c, in.(*I))
			if err != nil {
				return nil, err
			}
			return out, nil
		},
	}
	if perms != nil {
		op.Permissions = func(c *Call, in any) ([]Permission, error) { return perms(c, in.(*I)) }
	}
	for _, f := range set {
		f(&op)
	}
	return op
}

// ReadOnly marks an operation that changes nothing.
func ReadOnly(o *Operation) { o.ReadOnly = true }

// Omit names input members that a record must not show.
func Omit(members ...string) func(*Operation) {
	return func(o *Operation) { o.Omit = append(o.Omit, members...) }
}

// Partial says what of AWS's behaviour an operation lacks, for
// docs/OPERATIONS.md.
func Partial(missing string) func(*Operation) {
	return func(o *Operation) { o.Partial = missing }
}

// Refuses marks an operation whose handler checks its input and then always
// refuses with the given code.
func Refuses(code string) func(*Operation) {
	return func(o *Operation) { o.RefusedCode = code }
}

// At sets an operation's path in the REST protocol and the input members
// that its query string carries.
func At(path string, queryMembers ...string) func(*Operation) {
	return func(o *Operation) { o.Path, o.QueryMembers = path, queryMembers }
}

// EmptyResult marks an operation whose model has a result without members.
func EmptyResult(o *Operation) { o.EmptyResult = true }

// External marks an operation with an effect outside the store.
func External(o *Operation) { o.External = true }

// Unsigned marks an operation that needs no signature.
func Unsigned(o *Operation) { o.Unsigned = true }

// Describe sets an operation's Describe with typed input and output; out is
// nil when the call failed.
func Describe[I, O any](fn func(c *Call, in *I, out *O, err error, r *record.Record)) func(*Operation) {
	return func(o *Operation) {
		o.Describe = func(c *Call, in, out any, err error, r *record.Record) {
			typed, _ := out.(*O)
			fn(c, in.(*I), typed, err, r)
		}
	}
}

// Protocol is an AWS wire protocol.
type Protocol uint8

const (
	JSON10 Protocol = iota
	JSON11
	Query
	// RESTJSON finds the operation by its path; every operation is a POST.
	RESTJSON
)

// Service is an AWS service as the HTTP listener sees it.
type Service struct {
	Name        string // "athena"; also the SigV4 signing name unless SigningName is set
	SigningName string
	EventSource string // "athena.amazonaws.com"
	APIVersion  string // "2017-05-18"
	Protocol    Protocol
	// TargetPrefixes are the X-Amz-Target prefixes it answers to (JSON only).
	TargetPrefixes []string
	// XMLNamespace is the query protocol's answer namespace.
	XMLNamespace string
	// LowerCamel says that members start with a lower-case letter on the wire.
	LowerCamel bool
	// RecordAPIVersion says that records carry apiVersion.
	RecordAPIVersion bool
	// Global services are recorded in us-east-1.
	Global     bool
	Operations []Operation
	// Refused are the service's other operations: AWS knows them, this server
	// answers them with RefusedError.
	Refused      []string
	RefusedError func(operation string) error
	// ValidationError makes the error of an input that violates the service's
	// model; nil means ValidationException (JSON) or ValidationError (query).
	ValidationError func(message string) error
	// ErrorMessageKey is the member that carries an error's text in the JSON
	// protocols; "" means "message".
	ErrorMessageKey string
	// UnknownError answers a name that AWS does not know either; nil means the
	// protocol's own UnknownOperationException or InvalidAction.
	UnknownError func(operation string) error
}
