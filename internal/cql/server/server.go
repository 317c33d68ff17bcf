// Package server answers the CQL native protocol on a listener: connections,
// STARTUP and SASL, prepared statements, concurrent requests, events.
//
// It stands between package frame, which reads and writes bytes, and a Handler,
// which authorises, executes and records one statement. A response leaves only
// after the handler has returned. The server knows no type, schema or policy.
package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"spoor/internal/cql/frame"
)

// ErrServerClosed is what Serve returns after Shutdown.
var ErrServerClosed = errors.New("the CQL server is closed")

// Server serves CQL on any number of listeners. See New.
type Server struct {
	cfg      Config
	prepared *preparedCache
	budget   *budget
	tasks    sync.Pool // of *task
	nextID   atomic.Uint64

	// ctx is the parent of all connections' contexts; cancel ends handlers that
	// did not finish in the time that Shutdown gave them.
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // of connections

	mu        sync.Mutex
	closed    bool
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
}

// Stats are a server's figures of the moment.
type Stats struct {
	Connections   int
	Prepared      int
	InFlightBytes int64
}

// New makes a Server. It fails when cfg is not valid.
func New(cfg Config) (*Server, error) {
	cfg.setDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg:       cfg,
		prepared:  newPreparedCache(cfg.MaxPrepared),
		budget:    newBudget(cfg.MaxInFlightBytes),
		listeners: map[net.Listener]struct{}{},
		conns:     map[*conn]struct{}{},
	}
	s.tasks.New = func() any { return new(task) }
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Stats gives the figures of the moment.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{Connections: len(s.conns), Prepared: s.prepared.size(), InFlightBytes: s.budget.used.Load()}
}

// Serve accepts connections from l until Shutdown or an error that lasts. TLS is
// the listener's (crypto/tls.NewListener). It closes l and may be called for
// several listeners at a time.
func (s *Server) Serve(l net.Listener) error {
	if !s.track(l) {
		return errors.Join(ErrServerClosed, l.Close())
	}
	defer s.untrack(l)
	var delay time.Duration
	for {
		nc, err := l.Accept()
		if err != nil {
			if s.isClosed() {
				return ErrServerClosed
			}
			if !isTemporary(err) {
				return fmt.Errorf("accepting CQL connections: %w", err)
			}
			// Most likely no file descriptor is free; connections that end free some.
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			s.cfg.Logger.Warn("accepting a CQL connection failed", "error", err, "retry_in", delay)
			select {
			case <-time.After(delay):
			case <-s.ctx.Done():
			}
			continue
		}
		delay = 0
		s.start(nc)
	}
}

// isTemporary reports whether accepting may work again without the listener
// being replaced.
func isTemporary(err error) bool {
	var ne interface{ Temporary() bool }
	return errors.As(err, &ne) && ne.Temporary()
}

func (s *Server) track(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.listeners[l] = struct{}{}
	return true
}

func (s *Server) untrack(l net.Listener) {
	s.mu.Lock()
	delete(s.listeners, l)
	s.mu.Unlock()
	if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		s.cfg.Logger.Warn("closing a CQL listener failed", "error", err)
	}
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// start begins a connection, unless there are too many.
func (s *Server) start(nc net.Conn) {
	c := newConn(s, nc)
	s.mu.Lock()
	full := len(s.conns) >= s.cfg.MaxConnections
	if s.closed || full {
		s.mu.Unlock()
		if full {
			s.cfg.Logger.Warn("a CQL connection is refused: the limit is reached", "limit", s.cfg.MaxConnections, "remote", nc.RemoteAddr())
		}
		c.close()
		return
	}
	s.conns[c] = struct{}{}
	s.wg.Add(1)
	s.mu.Unlock()
	go func() {
		defer s.wg.Done()
		c.serve()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
}

// Shutdown stops accepting and reading, lets the requests under way finish and
// be answered, and closes the connections. When ctx ends first, the handlers'
// contexts are cancelled and the connections closed at once; Shutdown then
// returns ctx's error as soon as the handlers have returned.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	var errs []error
	for l := range s.listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, fmt.Errorf("closing a CQL listener: %w", err))
		}
	}
	for c := range s.conns {
		c.stopReading()
	}
	s.mu.Unlock()

	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		errs = append(errs, ctx.Err())
		s.cancel()
		s.budget.close()
		s.mu.Lock()
		for c := range s.conns {
			c.close()
		}
		s.mu.Unlock()
		<-done
	}
	s.cancel()
	return errors.Join(errs...)
}

// SchemaChanged tells the connections that registered for it and see the schema
// that has changed, and forgets the prepared statements that the change touches,
// so that clients prepare them again. Changes that come out of this server's own
// statements are told by itself; this is for those made elsewhere.
func (s *Server) SchemaChanged(schema string, change frame.SchemaChange) {
	s.prepared.invalidate(change)
	s.mu.Lock()
	var listeners []*conn
	for c := range s.conns {
		// A connection registers after its login, so its session is set then.
		if c.schemaEvents.Load() && schemaOf(c.session) == schema {
			listeners = append(listeners, c)
		}
	}
	s.mu.Unlock()
	var res frame.Response
	for _, c := range listeners {
		res.Reset(c.version(), frame.EventStream)
		res.SchemaChangeEvent(change)
		c.out.post(res.Finish(frame.None))
	}
}

func (s *Server) reject(r Rejection) {
	if s.cfg.Rejected != nil {
		s.cfg.Rejected(context.WithoutCancel(s.ctx), r)
	}
}
