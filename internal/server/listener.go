package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// firstByteTimeout is how long a new connection may stay silent before its
// protocol is known.
const firstByteTimeout = 30 * time.Second

// maxUndecided bounds the connections that have not sent a byte yet.
const maxUndecided = 1024

// tlsRecord is the first byte of a TLS handshake (RFC 8446, section 5.1); no
// HTTP method starts with it.
const tlsRecord = 0x16

// splitListener serves http and https on one port: it looks at a connection's
// first byte and gives it on as it is or as a TLS connection.
type splitListener struct {
	net.Listener
	tls    *tls.Config
	conns  chan net.Conn
	ctx    context.Context
	cancel context.CancelFunc
	slots  chan struct{}
	wg     sync.WaitGroup
	once   sync.Once
	err    error
}

func newSplitListener(l net.Listener, conf *tls.Config) *splitListener {
	ctx, cancel := context.WithCancel(context.Background())
	s := &splitListener{Listener: l, tls: conf, conns: make(chan net.Conn), ctx: ctx, cancel: cancel,
		slots: make(chan struct{}, maxUndecided)}
	s.wg.Add(1)
	go s.acceptLoop()
	return s
}

func (s *splitListener) acceptLoop() {
	defer s.wg.Done()
	for {
		c, err := s.Listener.Accept()
		if err != nil {
			s.err = err
			s.cancel()
			return
		}
		select {
		case s.slots <- struct{}{}:
		case <-s.ctx.Done():
			c.Close()
			return
		}
		s.wg.Add(1)
		go s.decide(c)
	}
}

func (s *splitListener) decide(c net.Conn) {
	defer s.wg.Done()
	defer func() { <-s.slots }()
	stop := context.AfterFunc(s.ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := c.SetReadDeadline(time.Now().Add(firstByteTimeout)); err != nil {
		c.Close()
		return
	}
	var first [1]byte
	_, err := io.ReadFull(c, first[:])
	if err != nil || c.SetReadDeadline(time.Time{}) != nil {
		c.Close()
		return
	}
	var out net.Conn = &peekedConn{Conn: c, first: first[0], has: true}
	if first[0] == tlsRecord {
		out = tls.Server(out, s.tls)
	}
	select {
	case s.conns <- out:
	case <-s.ctx.Done():
		c.Close()
	}
}

// Accept returns the next connection whose protocol is known.
func (s *splitListener) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.ctx.Done():
		if s.err != nil {
			return nil, s.err
		}
		return nil, net.ErrClosed
	}
}

// Close stops accepting and waits for the undecided connections to be closed.
func (s *splitListener) Close() error {
	var err error
	s.once.Do(func() {
		err = s.Listener.Close()
		s.cancel()
		s.wg.Wait()
		if errors.Is(err, net.ErrClosed) {
			err = nil
		}
	})
	return err
}

// peekedConn gives back the byte that was looked at.
type peekedConn struct {
	net.Conn
	first byte
	has   bool
}

func (c *peekedConn) Read(p []byte) (int, error) {
	if c.has && len(p) > 0 {
		p[0], c.has = c.first, false
		return 1, nil
	}
	return c.Conn.Read(p)
}
