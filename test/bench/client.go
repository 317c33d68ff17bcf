package main

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// CQL opcodes of the native protocol, version 4, section 2.4.
const (
	opError        = 0x00
	opStartup      = 0x01
	opReady        = 0x02
	opAuthenticate = 0x03
	opQuery        = 0x07
	opResult       = 0x08
	opPrepare      = 0x09
	opExecute      = 0x0A
	opAuthResponse = 0x0F
	opAuthSuccess  = 0x10
)

// consistency LOCAL_QUORUM
const localQuorum = 0x0006

// cqlConn is a Cassandra client with one request under way and next to no
// work of its own, so that what is measured is the server.
type cqlConn struct {
	c   net.Conn
	r   *bufio.Reader
	buf []byte
	in  []byte
}

func dialCQL(addr string, conf *tls.Config, user, password string) (*cqlConn, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	if conf != nil {
		nc = tls.Client(nc, conf)
	}
	c := &cqlConn{c: nc, r: bufio.NewReader(nc)}
	body := binary.BigEndian.AppendUint16(nil, 1)
	body = appendString(body, "CQL_VERSION")
	body = appendString(body, "3.0.0")
	op, _, err := c.call(opStartup, body)
	if err != nil {
		return nil, err
	}
	if op == opAuthenticate {
		token := "\x00" + user + "\x00" + password
		if op, _, err = c.call(opAuthResponse, appendBytes(nil, []byte(token))); err != nil {
			return nil, err
		}
	}
	if op != opReady && op != opAuthSuccess {
		return nil, fmt.Errorf("the login ended with opcode %#x", op)
	}
	return c, nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

func appendBytes(b, v []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
}

// call sends one frame and reads its answer. The body is valid until the next
// call.
func (c *cqlConn) call(op byte, body []byte) (byte, []byte, error) {
	c.buf = append(c.buf[:0], 4, 0, 0, 0, op)
	c.buf = binary.BigEndian.AppendUint32(c.buf, uint32(len(body)))
	c.buf = append(c.buf, body...)
	if _, err := c.c.Write(c.buf); err != nil {
		return 0, nil, err
	}
	var h [9]byte
	if _, err := io.ReadFull(c.r, h[:]); err != nil {
		return 0, nil, err
	}
	n := int(binary.BigEndian.Uint32(h[5:]))
	if cap(c.in) < n {
		c.in = make([]byte, n)
	}
	c.in = c.in[:n]
	if _, err := io.ReadFull(c.r, c.in); err != nil {
		return 0, nil, err
	}
	if h[4] == opError {
		msg := ""
		if len(c.in) > 6 {
			msg = string(c.in[6:])
		}
		return h[4], c.in, fmt.Errorf("the server answered with an error: %s", msg)
	}
	return h[4], c.in, nil
}

func (c *cqlConn) query(stmt string) error {
	body := append(binary.BigEndian.AppendUint32(nil, uint32(len(stmt))), stmt...)
	body = binary.BigEndian.AppendUint16(body, localQuorum)
	_, _, err := c.call(opQuery, append(body, 0))
	return err
}

// prepare returns a statement's id.
func (c *cqlConn) prepare(stmt string) ([]byte, error) {
	op, body, err := c.call(opPrepare, append(binary.BigEndian.AppendUint32(nil, uint32(len(stmt))), stmt...))
	if err != nil {
		return nil, err
	}
	if op != opResult || len(body) < 6 {
		return nil, fmt.Errorf("PREPARE answered with opcode %#x", op)
	}
	n := int(binary.BigEndian.Uint16(body[4:]))
	return append([]byte(nil), body[6:6+n]...), nil
}

// execute runs a prepared statement with the given values.
func (c *cqlConn) execute(scratch, id []byte, values ...[]byte) ([]byte, error) {
	b := append(binary.BigEndian.AppendUint16(scratch[:0], uint16(len(id))), id...)
	b = binary.BigEndian.AppendUint16(b, localQuorum)
	b = append(b, 0x01) // values follow
	b = binary.BigEndian.AppendUint16(b, uint16(len(values)))
	for _, v := range values {
		b = appendBytes(b, v)
	}
	op, _, err := c.call(opExecute, b)
	if err == nil && op != opResult {
		err = fmt.Errorf("EXECUTE answered with opcode %#x", op)
	}
	return b, err
}
