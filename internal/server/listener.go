package server

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// maxUndecided bounds the connections that have not sent a byte yet. A further
// one displaces the one that has been silent longest: those who only connect
// must not keep out those who speak.
const maxUndecided = 1024

// tlsRecord is the first byte of a TLS handshake (RFC 8446, section 5.1); no
// HTTP method starts with it.
const tlsRecord = 0x16

// splitListener serves http and https on one port: it looks at a connection's
// first byte and gives it on as it is or as a TLS connection. timeout is how
// long that byte may take.
type splitListener struct {
	net.Listener
	tls     *tls.Config
	timeout time.Duration
	conns   chan net.Conn
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	once    sync.Once
	err     error

	mu        sync.Mutex
	undecided list.List // of net.Conn, the oldest first
}

func newSplitListener(l net.Listener, conf *tls.Config, timeout time.Duration) *splitListener {
	ctx, cancel := context.WithCancel(context.Background())
	s := &splitListener{Listener: l, tls: conf, timeout: timeout, conns: make(chan net.Conn), ctx: ctx, cancel: cancel}
	s.wg.Add(1)
	go s.acceptLoop()
	return s
}

func (s *splitListener) acceptLoop() {
	defer s.wg.Done()
	for {
		c, err := s.Listener.Accept()
		if err != nil {
			var ne interface{ Temporary() bool }
			if errors.As(err, &ne) && ne.Temporary() && s.wait() {
				continue // most likely no file descriptor is free
			}
			s.err = err
			s.cancel()
			return
		}
		s.wg.Add(1)
		go s.decide(c, s.enter(c))
	}
}

// acceptPause is how long accepting rests when it fails for a while.
const acceptPause = 50 * time.Millisecond

// wait rests, and makes room by closing the connection that has been silent
// longest. false means that the listener is closed.
func (s *splitListener) wait() bool {
	s.mu.Lock()
	s.displace(0)
	s.mu.Unlock()
	select {
	case <-time.After(acceptPause):
		return true
	case <-s.ctx.Done():
		return false
	}
}

// enter counts a connection among the undecided.
func (s *splitListener) enter(c net.Conn) *list.Element {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.displace(maxUndecided - 1)
	return s.undecided.PushBack(c)
}

// displace closes the oldest undecided connection when there are more than
// limit; its decide then ends. mu is held.
func (s *splitListener) displace(limit int) {
	if s.undecided.Len() > limit {
		oldest := s.undecided.Front()
		s.undecided.Remove(oldest)
		_ = oldest.Value.(net.Conn).Close() // nobody waits for it
	}
}

func (s *splitListener) leave(e *list.Element) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.undecided.Remove(e) // does nothing for one that was displaced
}

func (s *splitListener) decide(c net.Conn, e *list.Element) {
	defer s.wg.Done()
	stop := context.AfterFunc(s.ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := c.SetReadDeadline(time.Now().Add(s.timeout)); err != nil {
		s.leave(e)
		c.Close()
		return
	}
	var first [1]byte
	_, err := io.ReadFull(c, first[:])
	s.leave(e)
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
