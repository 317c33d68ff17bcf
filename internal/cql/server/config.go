package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"spoor/internal/cql/frame"
)

// The defaults of Config.
const (
	DefaultMaxConnections   = 10_000
	DefaultMaxRequests      = 1024 // Cassandra's native_transport_max_threads is 128 for the whole server; here a waiting request costs a small stack
	DefaultMaxInFlightBytes = 256 << 20
	DefaultMaxPrepared      = 10_000
	DefaultStartupTimeout   = 30 * time.Second
	DefaultReadTimeout      = 30 * time.Second
	DefaultWriteTimeout     = 30 * time.Second
	DefaultIdleTimeout      = 10 * time.Minute // drivers send an OPTIONS every 30 seconds
)

// Config is what a Server is made of. Zero values stand for the defaults.
type Config struct {
	// Handler executes the statements. Required.
	Handler Handler
	// Authenticator checks who connects. Required unless AllowAll.
	Authenticator Authenticator
	// AllowAll lets everyone in without a credential, with a nil Session. It
	// excludes an Authenticator.
	AllowAll bool
	// Logger takes what an operator should know. Default: slog.Default.
	Logger *slog.Logger
	// Rejected, when set, is told of what never reached the Handler, before the
	// client is answered. ctx is not the connection's: a client that hangs up
	// does not cancel it.
	Rejected func(ctx context.Context, r Rejection)

	// MaxBody is the largest body of a request, in bytes, before and after
	// decompression; at most frame.MaxBody. Before authentication it is 64 KiB.
	MaxBody int
	// MaxConnections is how many connections may be open; a further one is
	// closed as soon as it is accepted.
	MaxConnections int
	// MaxRequests is how many requests of one connection are executed at a time.
	// Beyond it the connection is not read, or, if the client asked for that by
	// THROW_ON_OVERLOAD in STARTUP, answered with Overloaded.
	MaxRequests int
	// MaxInFlightBytes bounds the bodies of all requests that are being read or
	// executed; it must allow for two of MaxBody.
	MaxInFlightBytes int64
	// MaxPrepared is how many prepared statements are kept; the one used longest
	// ago gives way.
	MaxPrepared int

	// StartupTimeout is how long a connection may take until it is
	// authenticated, the TLS handshake included.
	StartupTimeout time.Duration
	// ReadTimeout is how long the rest of a frame may take once it has begun.
	ReadTimeout time.Duration
	// WriteTimeout is how long one write of responses may take.
	WriteTimeout time.Duration
	// IdleTimeout is how long a connection may stay without a request.
	IdleTimeout time.Duration
}

// maxBodyUnauthenticated bounds the bodies of those who have shown no
// credential: STARTUP and SASL tokens take a few kilobytes.
const maxBodyUnauthenticated = 64 << 10

func orDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

func (c *Config) setDefaults() {
	orDefault(&c.MaxBody, frame.DefaultMaxBody)
	orDefault(&c.MaxConnections, DefaultMaxConnections)
	orDefault(&c.MaxRequests, DefaultMaxRequests)
	orDefault(&c.MaxInFlightBytes, max(DefaultMaxInFlightBytes, 2*int64(c.MaxBody)))
	orDefault(&c.MaxPrepared, DefaultMaxPrepared)
	orDefault(&c.StartupTimeout, DefaultStartupTimeout)
	orDefault(&c.ReadTimeout, DefaultReadTimeout)
	orDefault(&c.WriteTimeout, DefaultWriteTimeout)
	orDefault(&c.IdleTimeout, DefaultIdleTimeout)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
}

func (c *Config) validate() error {
	switch {
	case c.Handler == nil:
		return errors.New("a CQL server needs a handler")
	case c.Authenticator == nil && !c.AllowAll:
		return errors.New("a CQL server needs an authenticator, unless everyone is to be let in")
	case c.Authenticator != nil && c.AllowAll:
		return errors.New("a CQL server cannot both authenticate and let everyone in")
	case c.MaxBody < maxBodyUnauthenticated || c.MaxBody > frame.MaxBody:
		return fmt.Errorf("the largest CQL body must be from %d to %d bytes, not %d", maxBodyUnauthenticated, frame.MaxBody, c.MaxBody)
	case c.MaxInFlightBytes < 2*int64(c.MaxBody):
		return fmt.Errorf("the CQL bodies in flight must be allowed at least %d bytes, not %d", 2*c.MaxBody, c.MaxInFlightBytes)
	case c.MaxConnections < 0 || c.MaxRequests < 0 || c.MaxPrepared < 0:
		return errors.New("a CQL server's limits cannot be negative")
	case c.StartupTimeout < 0 || c.ReadTimeout < 0 || c.WriteTimeout < 0 || c.IdleTimeout < 0:
		return errors.New("a CQL server's timeouts cannot be negative")
	}
	return nil
}
