// Package keyspaces is Amazon Keyspaces: its CQL statements and its HTTP API
// over the embedded store.
//
// It stands at the handle step of a call's path. The CQL server hands it parsed
// statements, each of which walks call.Path as one step: the permissions it
// needs, its execution, and the record that says what was done, in the forms of
// the developer guide's page "Logging Amazon Keyspaces API calls with AWS
// CloudTrail". Written values never get into a record; keys and conditions get
// there masked.
package keyspaces

import (
	"crypto/rand"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/cql/frame"
	"spoor/internal/cql/server"
	"spoor/internal/kv"
	"spoor/internal/record"
)

// DefaultClusterName is what Amazon Keyspaces calls its cluster; drivers' helpers
// recognise the service by it.
const DefaultClusterName = "Amazon Keyspaces"

// DefaultMaskThreshold is the length, in characters, up to which a value's text
// is hidden whole. AWS documents no threshold; its samples hide one character
// and show the ends of four.
const DefaultMaskThreshold = 2

// Config is what a Service is made of.
type Config struct {
	Store *kv.Store
	Path  *call.Path
	Now   func() time.Time // nil: time.Now
	Log   *slog.Logger     // nil: slog.Default
	// ClusterName is system.local's cluster_name; "" means DefaultClusterName.
	ClusterName string
	// MaskThreshold is in characters; 0 means DefaultMaskThreshold.
	MaskThreshold int
	// SchemaChanged is told of changes that come by the HTTP API. Those of CQL
	// statements the CQL server tells itself. May be nil.
	SchemaChanged func(account, region string, change frame.SchemaChange)
}

// Service executes CQL statements and the Keyspaces API. It implements
// server.Handler.
type Service struct {
	store   *kv.Store
	path    *call.Path
	now     func() time.Time
	log     *slog.Logger
	cluster string
	mask    int
	changed func(account, region string, change frame.SchemaChange)

	mu     sync.RWMutex
	spaces map[owner]*space

	stripes [lockStripes]sync.Mutex
	seed    maphash.Seed
	clock   atomic.Int64  // last timestamp given, in microseconds
	uuids   atomic.Uint64 // last time of a timeuuid given, in 100 ns
	node    [8]byte       // clock sequence and node of the timeuuids
	hostID  [16]byte
	steps   sync.Pool // *step
}

// space is the schema of an account in a region.
type space struct {
	ddl    sync.Mutex // held by a change of the schema until it is durable
	schema atomic.Pointer[Schema]
}

// Session is whose statements a CQL connection executes; the authenticator makes
// it.
type Session struct {
	Caller          *aws.Caller
	Identity        *record.Identity
	Account, Region string

	conns sync.Map // *server.ConnInfo to *connection
}

// NewSession makes the session of a connection. identity may be nil; then it is
// made of the caller.
func NewSession(caller *aws.Caller, identity *record.Identity, account, region string) *Session {
	if identity == nil {
		identity = record.EncodeIdentity(caller)
	}
	return &Session{Caller: caller, Identity: identity, Account: account, Region: region}
}

// SchemaName names the schema that the session sees, for server.Schemed.
func (s *Session) SchemaName() string { return SchemaName(s.Account, s.Region) }

// SchemaName names the schema of an account in a region.
func SchemaName(account, region string) string { return account + "/" + region }

var _ server.Schemed = (*Session)(nil)

// connection is what a record says of a connection, made once.
type connection struct {
	sourceIP, userAgent string
	tls                 *record.TLS
}

func (s *Session) connection(c *server.ConnInfo) *connection {
	if v, ok := s.conns.Load(c); ok {
		return v.(*connection)
	}
	host := "cassandra." + s.Region + ".amazonaws.com"
	if c.TLS != nil && c.TLS.ServerName != "" {
		host = c.TLS.ServerName
	}
	n := &connection{sourceIP: c.Remote.Addr().Unmap().String(), tls: record.NewTLS(c.TLS, host),
		userAgent: "Cassandra Client/ProtocolV" + itoa(int(c.Protocol))}
	s.conns.Store(c, n)
	return n
}

// Open loads the schemas and makes the service.
func Open(cfg Config) (*Service, error) {
	if cfg.Store == nil || cfg.Path == nil {
		return nil, errors.New("keyspaces: a store and a call path are required")
	}
	s := &Service{store: cfg.Store, path: cfg.Path, now: cfg.Now, log: cfg.Log, cluster: cfg.ClusterName, mask: cfg.MaskThreshold,
		changed: cfg.SchemaChanged, spaces: map[owner]*space{}, seed: maphash.MakeSeed()}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.cluster == "" {
		s.cluster = DefaultClusterName
	}
	if s.mask == 0 {
		s.mask = DefaultMaskThreshold
	}
	_, _ = rand.Read(s.node[:])
	s.node[0] = s.node[0]&0x3F | 0x80
	if err := s.loadHostID(); err != nil {
		return nil, err
	}
	all, err := load(cfg.Store)
	if err != nil {
		return nil, err
	}
	for o, schema := range all {
		sp := &space{}
		sp.schema.Store(schema)
		s.spaces[o] = sp
	}
	return s, nil
}

// loadHostID reads the host id that drivers know this server by, or makes it at
// the first start.
func (s *Service) loadHostID() error {
	key := kv.Key(kv.SpaceState, stateService, "host")
	v, err := s.store.Get(key)
	switch {
	case err == nil && len(v) == len(s.hostID):
		copy(s.hostID[:], v)
		return nil
	case err == nil:
		return fmt.Errorf("keyspaces: the stored host id is %d bytes long, want %d", len(v), len(s.hostID))
	case !errors.Is(err, kv.ErrNotFound):
		return fmt.Errorf("keyspaces: reading the host id: %w", err)
	}
	s.hostID = randomUUID()
	b := s.store.NewBatch()
	b.Set(key, s.hostID[:])
	if err := s.path.Journal.Commit(b); err != nil {
		return fmt.Errorf("keyspaces: storing the host id: %w", err)
	}
	return nil
}

// space finds an owner's schema, and makes an empty one at first.
func (s *Service) space(o owner) *space {
	s.mu.RLock()
	sp := s.spaces[o]
	s.mu.RUnlock()
	if sp != nil {
		return sp
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if sp = s.spaces[o]; sp == nil {
		sp = &space{}
		sp.schema.Store(&Schema{Version: randomUUID(), Keyspaces: map[string]*Keyspace{}})
		s.spaces[o] = sp
	}
	return sp
}

// tick gives a timestamp, in microseconds, later than all given before.
func (s *Service) tick() int64 {
	for {
		last := s.clock.Load()
		next := max(s.now().UnixMicro(), last+1)
		if s.clock.CompareAndSwap(last, next) {
			return next
		}
	}
}

// timeUUID gives a version 1 UUID of now that was not given before.
func (s *Service) timeUUID() []byte {
	for {
		last := s.uuids.Load()
		next := max(uint64(s.now().UnixNano()/100)+gregorian, last+1)
		if s.uuids.CompareAndSwap(last, next) {
			u := timeUUID(next)
			copy(u[8:], s.node[:])
			return u
		}
	}
}
