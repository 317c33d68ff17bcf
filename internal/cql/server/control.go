package server

import (
	"bytes"
	"context"
	"errors"

	"spoor/internal/cql"
	"spoor/internal/cql/frame"
)

// control answers the messages that concern the connection itself into t.res. An
// error ends the connection; its answer has then been sent.
func (c *conn) control(t *task) error {
	h := t.header
	switch h.Opcode {
	case frame.OpOptions:
		t.res.Supported(supported())
		return nil
	case frame.OpStartup:
		if c.state == stateStartup {
			return c.startup(t)
		}
	case frame.OpAuthResponse:
		if c.state == stateAuthentication {
			return c.authenticate(t)
		}
	case frame.OpRegister:
		if c.state == stateReady {
			return c.register(t)
		}
	}
	e := c.outOfOrder(h.Opcode)
	c.server.reject(Rejection{Conn: c.info.Load(), Session: c.session, Reason: RejectProtocol, Err: e})
	t.res.Error(e)
	return nil
}

// outOfOrder is Cassandra's answer to a message that the connection's state does
// not allow. The connection goes on.
func (c *conn) outOfOrder(op frame.Opcode) *cql.Error {
	switch c.state {
	case stateStartup:
		return cql.ProtocolError("Unexpected message %s, expecting STARTUP or OPTIONS", op)
	case stateAuthentication:
		return cql.ProtocolError("Unexpected message %s, expecting SASL_RESPONSE", op)
	default:
		return cql.ProtocolError("Unexpected message %s, the connection is already initialized", op)
	}
}

// supported is the answer to OPTIONS. Drivers need the key COMPRESSION to be
// there.
func supported() map[string][]string {
	return map[string][]string{
		"CQL_VERSION":       {cql.Version},
		"COMPRESSION":       frame.Compressions(),
		"PROTOCOL_VERSIONS": {"3/v3", "4/v4"},
	}
}

func (c *conn) startup(t *task) error {
	options, perr := frame.DecodeStartup(t.message)
	if perr == nil {
		switch v, ok := options["CQL_VERSION"]; {
		case !ok:
			perr = cql.ProtocolError("Missing value CQL_VERSION in STARTUP message")
		case len(v) < 2 || v[:2] != "3.":
			perr = cql.ProtocolError("CQL version %s is not supported by the binary protocol (supported version are >= 3.0.0)", v)
		}
	}
	compression, known := frame.ParseCompression(options["COMPRESSION"])
	if perr == nil && !known {
		perr = cql.ProtocolError("Unknown compression algorithm: %s", options["COMPRESSION"])
	}
	if perr != nil {
		c.breakOff(t.header, perr)
		return perr
	}
	c.compression = compression
	c.throwOnOverload = options["THROW_ON_OVERLOAD"] == "1" || options["THROW_ON_OVERLOAD"] == "true"
	info := *c.info.Load()
	info.Protocol = t.header.Version
	info.DriverName, info.DriverVersion = options["DRIVER_NAME"], options["DRIVER_VERSION"]
	c.info.Store(&info)
	if c.server.cfg.AllowAll {
		c.ready(nil)
		t.res.Ready()
		return nil
	}
	c.state = stateAuthentication
	t.res.Authenticate(c.server.cfg.Authenticator.Class())
	return nil
}

func (c *conn) ready(session Session) {
	c.session = session
	c.state = stateReady
	c.maxBody = c.server.cfg.MaxBody
}

func (c *conn) register(t *task) error {
	events, perr := frame.DecodeRegister(t.message)
	if perr != nil {
		c.breakOff(t.header, perr)
		return perr
	}
	for _, e := range events {
		switch e {
		case "SCHEMA_CHANGE", "TOPOLOGY_CHANGE", "STATUS_CHANGE":
		default:
			t.res.Error(cql.ProtocolError("Invalid value '%s' for Type", e))
			return nil
		}
	}
	for _, e := range events {
		if e == "SCHEMA_CHANGE" { // the others tell of nodes, and this server's do not change
			c.schemaEvents.Store(true)
		}
	}
	t.res.Ready()
	return nil
}

// exchange is an authentication that has begun. finish is set after a challenge.
type exchange struct {
	finish func(context.Context, []byte) (Session, error)
}

// sigV4Start is the first token of AWS's SigV4 plugins for Cassandra drivers. A
// PLAIN token begins with a zero byte or an authorisation identity.
var sigV4Start = []byte("SigV4\x00\x00")

// authenticate takes one step of the SASL exchange. A failure ends the
// connection: every guess costs a handshake.
func (c *conn) authenticate(t *task) error {
	token, perr := frame.DecodeAuthResponse(t.message)
	if perr != nil {
		c.breakOff(t.header, perr)
		return perr
	}
	auth := c.server.cfg.Authenticator
	var session Session
	var user string
	var err error
	switch {
	case c.auth.finish != nil:
		finish := c.auth.finish
		c.auth.finish = nil
		session, err = finish(c.ctx, token)
	case bytes.Equal(token, sigV4Start):
		var nonce string
		if nonce, c.auth.finish, err = auth.SigV4(c.ctx, c.info.Load()); err == nil {
			t.res.AuthChallenge([]byte("nonce=" + nonce))
			return nil
		}
	default:
		var password string
		if user, password, err = plain(token); err == nil {
			session, err = auth.Plain(c.ctx, c.info.Load(), user, password)
		}
	}
	if err != nil {
		return c.refuse(t, user, err)
	}
	c.ready(session)
	t.res.AuthSuccess(nil)
	return nil
}

func (c *conn) refuse(t *task, user string, err error) error {
	e := cql.AsError(err)
	if e.Code == cql.CodeServer {
		c.server.cfg.Logger.Error("authenticating a CQL connection failed", "conn", c.info.Load().ID, "error", err)
	}
	c.server.reject(Rejection{Conn: c.info.Load(), Reason: RejectAuthentication, User: user, Err: e})
	t.res.Error(e)
	c.hangUp(&t.res)
	return e
}

// plain splits a PLAIN token: authorisation identity, user name and password,
// each but the last ended by a zero byte (RFC 4616). The identity is ignored, as
// Cassandra does.
func plain(token []byte) (user, password string, err error) {
	parts := bytes.Split(token, []byte{0})
	switch {
	case len(parts) != 3:
		err = errors.New("Malformed SASL PLAIN token")
	case len(parts[1]) == 0:
		err = errors.New("Authentication ID must not be null")
	case len(parts[2]) == 0:
		err = errors.New("Password must not be null")
	default:
		return string(parts[1]), string(parts[2]), nil
	}
	return "", "", cql.Errorf(cql.CodeBadCredentials, "%v", err)
}
