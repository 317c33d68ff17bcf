package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"spoor/internal/cql"
	"spoor/internal/cql/frame"
)

// state is how far a connection has come.
type state uint8

const (
	stateStartup        state = iota // expects STARTUP
	stateAuthentication              // expects AUTH_RESPONSE
	stateReady
)

const (
	readBuffer  = 32 << 10 // bytes
	maxIdleWork = 16       // workers that a connection keeps for its next requests
)

// The bounds on reading what a client still sends while it is told why its
// connection ends: data left unread would make the kernel reset the connection,
// and the client might never see the reason.
const (
	lingerTime  = time.Second
	lingerBytes = 1 << 20
)

// conn is one connection. Its read loop decodes headers, answers what concerns
// the connection itself and hands statements to workers, which execute them
// concurrently and answer in any order.
type conn struct {
	server *Server
	nc     net.Conn
	br     *bufio.Reader
	out    *writer
	ctx    context.Context
	cancel context.CancelFunc

	// Owned by the read loop.
	state           state
	maxBody         int
	deadline        time.Time // the read deadline that is set
	throwOnOverload bool
	auth            exchange

	// Written by the read loop before the first worker starts.
	compression frame.Compression
	session     Session

	info         atomic.Pointer[ConnInfo]
	keyspace     atomic.Pointer[string]
	schemaEvents atomic.Bool
	draining     atomic.Bool // no further frame is to be read
	lingering    atomic.Bool // the client was told an error that ends the connection

	work    chan *task
	workers atomic.Int32
	idle    atomic.Int32
	wg      sync.WaitGroup // of workers
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{
		server:  s,
		nc:      nc,
		out:     newWriter(nc, s.cfg.WriteTimeout),
		maxBody: min(s.cfg.MaxBody, maxBodyUnauthenticated),
		work:    make(chan *task),
	}
	c.ctx, c.cancel = context.WithCancel(s.ctx)
	c.keyspace.Store(new(string))
	c.info.Store(&ConnInfo{
		ID: s.nextID.Add(1), Remote: addrPort(nc.RemoteAddr()), Local: addrPort(nc.LocalAddr()),
		Protocol: cql.MaxProtocol, Since: time.Now(),
	})
	return c
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}

func (c *conn) version() cql.ProtocolVersion { return c.info.Load().Protocol }

// close ends the connection at once. The handlers' contexts are cancelled.
func (c *conn) close() {
	c.cancel()
	if err := c.nc.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		c.server.cfg.Logger.Debug("closing a CQL connection failed", "conn", c.info.Load().ID, "error", err)
	}
}

// stopReading makes the read loop end; requests under way go on.
func (c *conn) stopReading() {
	c.draining.Store(true)
	c.wakeReader()
}

// wakeReader ends a read that waits. A deadline that cannot be set means that
// the connection is closed, which ends the read as well.
func (c *conn) wakeReader() { _ = c.nc.SetReadDeadline(time.Unix(1, 0)) }

// serve runs the connection until it ends.
func (c *conn) serve() {
	defer c.close()
	err := c.nc.SetReadDeadline(time.Now().Add(c.server.cfg.StartupTimeout))
	if err == nil {
		err = c.handshake()
	}
	// Not before: who only connects shall cost little memory.
	c.br = bufio.NewReaderSize(c.nc, readBuffer)
	for err == nil {
		err = c.readFrame()
	}
	info := c.info.Load()
	if !errors.Is(err, io.EOF) && !c.draining.Load() {
		c.server.cfg.Logger.Debug("a CQL connection ends", "conn", info.ID, "remote", info.Remote, "error", err)
	}
	if !c.draining.Load() {
		c.cancel() // the client is gone or has broken the protocol: nobody waits for the rest
	}
	close(c.work)
	c.wg.Wait()
	c.out.flush()
	if c.lingering.Load() {
		c.linger()
	}
}

// handshake does the TLS handshake, if there is one to do.
func (c *conn) handshake() error {
	t, ok := c.nc.(interface {
		HandshakeContext(context.Context) error
		ConnectionState() tls.ConnectionState
	})
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.server.cfg.StartupTimeout)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		return err
	}
	info := *c.info.Load()
	cs := t.ConnectionState()
	info.TLS = &cs
	c.info.Store(&info)
	return nil
}

// linger reads over what the client still sends, so that it sees the error.
func (c *conn) linger() {
	if cw, ok := c.nc.(interface{ CloseWrite() error }); ok {
		if cw.CloseWrite() != nil {
			return
		}
	}
	if c.nc.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, c.br, lingerBytes) // ends by EOF or by the deadline: both are fine
	}
}

// setDeadline gives reading until at. Moving a deadline costs a timer operation,
// so an idle deadline that is nearly right stays.
func (c *conn) setDeadline(at time.Time, slack time.Duration) error {
	if d := at.Sub(c.deadline); d >= 0 && d < slack {
		return nil
	}
	c.deadline = at
	if err := c.nc.SetReadDeadline(at); err != nil {
		return err
	}
	if c.draining.Load() || c.lingering.Load() { // set just before: must not be undone
		c.wakeReader()
	}
	return nil
}

var errDraining = errors.New("the connection is not read any more")

// readFrame reads one request and answers it or hands it on. An error ends the
// connection.
func (c *conn) readFrame() error {
	if c.draining.Load() || c.lingering.Load() {
		return errDraining
	}
	cfg := &c.server.cfg
	if c.state == stateReady && c.br.Buffered() < frame.HeaderSize {
		if err := c.setDeadline(time.Now().Add(cfg.IdleTimeout), cfg.IdleTimeout/8); err != nil {
			return err
		}
	}
	h, perr, err := c.readHeader()
	if err != nil {
		return err
	}
	if perr == nil && c.state != stateStartup && h.Version != c.version() {
		perr = cql.ProtocolError("Invalid message version. Got %d but previous messages on this connection had version %d", h.Version, c.version())
		h.Version = c.version()
	}
	if perr != nil {
		c.breakOff(h, perr)
		return perr
	}
	t := c.server.tasks.Get().(*task)
	t.header = h
	t.keyspace = *c.keyspace.Load()
	if err := c.readBody(t); err != nil {
		c.server.release(t)
		return err
	}
	return c.accept(t)
}

// readHeader reads a header. perr is an error to answer.
func (c *conn) readHeader() (h frame.Header, perr *cql.Error, err error) {
	b, err := c.br.Peek(1)
	if err != nil {
		return h, nil, err
	}
	size := frame.HeaderSize
	if v := b[0] &^ 0x80; v < byte(cql.Protocol3) {
		size-- // their stream is one byte long, and the header may be all that is sent
	}
	if b, err = c.br.Peek(size); err != nil {
		return h, nil, err
	}
	var buf [frame.HeaderSize]byte
	copy(buf[:], b)
	h, perr = frame.ParseRequestHeader(buf[:], c.maxBody)
	_, err = c.br.Discard(size)
	return h, perr, err
}

// readBody reads a request's body into t and decompresses it. The memory is
// taken from the server's budget before it is allocated. An error of the
// protocol is answered here.
func (c *conn) readBody(t *task) error {
	h, s := t.header, c.server
	n := int64(h.Length)
	if err := s.budget.take(n); err != nil {
		return err
	}
	t.charged = n
	compressed := h.Flags&frame.FlagCompressed != 0
	into := &t.body
	if compressed {
		into = &t.wire
	}
	*into = sized(*into, int(h.Length))
	if int(h.Length) > c.br.Buffered() && c.state == stateReady {
		if err := c.setDeadline(time.Now().Add(s.cfg.ReadTimeout), 0); err != nil {
			return err
		}
		// The idle deadline counts anew from the frame's end.
		defer func() { c.deadline = time.Time{} }()
	}
	if _, err := io.ReadFull(c.br, *into); err != nil {
		return err
	}
	if !compressed {
		return nil
	}
	length, err := frame.UncompressedLen(c.compression, t.wire, c.maxBody)
	if err == nil {
		s.budget.give(t.charged)
		t.charged = 0
		if err := s.budget.take(n + int64(length)); err != nil {
			return err
		}
		t.charged = n + int64(length)
		t.body, err = frame.Decompress(c.compression, t.body, t.wire, c.maxBody)
	}
	if err != nil {
		t.body = nil
		perr := cql.ProtocolError("Cannot decompress the body: %v", err)
		c.breakOff(h, perr)
		return perr
	}
	return nil
}

func sized(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}

// breakOff answers an error after which the connection ends, as Cassandra does
// for messages that it cannot decode.
func (c *conn) breakOff(h frame.Header, e *cql.Error) {
	c.server.reject(Rejection{Conn: c.info.Load(), Session: c.session, Reason: RejectProtocol, Err: e})
	var res frame.Response
	res.Reset(h.Version, h.Stream)
	res.Error(e)
	c.hangUp(&res)
}

// hangUp sends a response and ends the connection after it.
func (c *conn) hangUp(res *frame.Response) {
	c.out.send(res.Finish(frame.None))
	c.lingering.Store(true)
	c.wakeReader()
}

// accept answers a request that concerns the connection, or hands it to a worker.
// It owns t.
func (c *conn) accept(t *task) error {
	body, perr := frame.Payload(t.header, t.body)
	if perr != nil {
		c.breakOff(t.header, perr)
		c.server.release(t)
		return perr
	}
	t.message = body
	switch t.header.Opcode {
	case frame.OpQuery, frame.OpPrepare, frame.OpExecute, frame.OpBatch:
		if c.state == stateReady {
			c.dispatch(t)
			return nil
		}
	}
	defer c.server.release(t)
	t.res.Reset(t.header.Version, t.header.Stream)
	err := c.control(t)
	if err == nil {
		c.out.send(t.res.Finish(frame.None))
	}
	return err
}

// dispatch gives a statement to a worker: one that waits, or a new one up to the
// limit. Beyond it the read loop waits, and with it the client.
func (c *conn) dispatch(t *task) {
	select {
	case c.work <- t:
		return
	default:
	}
	if c.workers.Load() < int32(c.server.cfg.MaxRequests) {
		c.workers.Add(1)
		c.wg.Add(1)
		go c.worker(t)
		return
	}
	if c.throwOnOverload {
		t.res.Reset(t.header.Version, t.header.Stream)
		t.res.Error(cql.Overloaded("Too many requests are being executed for this connection (%d)", c.server.cfg.MaxRequests))
		c.out.send(t.res.Finish(frame.None))
		c.server.release(t)
		return
	}
	c.work <- t
}

// worker executes requests. Workers wait for more instead of ending, because a
// stack that has grown once need not grow again.
func (c *conn) worker(t *task) {
	defer c.wg.Done()
	defer c.workers.Add(-1)
	for {
		c.execute(t)
		c.server.release(t)
		if c.idle.Add(1) > maxIdleWork {
			c.idle.Add(-1)
			return
		}
		var ok bool
		t, ok = <-c.work
		c.idle.Add(-1)
		if !ok {
			return
		}
	}
}
