package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/cql"
	cqlserver "spoor/internal/cql/server"
	"spoor/internal/keyspaces"
	"spoor/internal/record"
	"spoor/internal/sigv4"
)

// Class is the authenticator class that CQL clients are told.
func (a *authenticator) Class() string { return a.class }

// cqlRegion is the region of a CQL connection: that of the name the client
// asked TLS for, cassandra.<region>.amazonaws.com, else the default.
func (a *authenticator) cqlRegion(conn *cqlserver.ConnInfo) string {
	if conn.TLS != nil {
		if region, ok := keyspacesRegion(conn.TLS.ServerName); ok && a.validRegion(region) {
			return region
		}
	}
	return a.region
}

// loginError is the cause of a login that failed: whom the credential belongs
// to, nil when it belongs to nobody.
type loginError struct{ claimed *aws.Caller }

func (*loginError) Error() string { return "server: the login failed" }

// badLogin is a login's failure, in Cassandra's words.
func (a *authenticator) badLogin(from netip.Addr, name string, caller *aws.Caller) error {
	a.failed(from, name)
	e := cql.BadCredentials(name)
	e.Err = &loginError{claimed(caller)}
	return e
}

// admitLogin refuses an address that failed too often.
func (a *authenticator) admitLogin(from netip.Addr, name string) error {
	if a.guard.Admit(from, name) == 0 {
		return nil
	}
	return cql.Overloaded("Too many failed logins from this address; try again later")
}

// Plain checks a service-specific credential.
func (a *authenticator) Plain(_ context.Context, conn *cqlserver.ConnInfo, user, password string) (cqlserver.Session, error) {
	from := conn.Remote.Addr()
	if err := a.admitLogin(from, user); err != nil {
		return nil, err
	}
	caller, err := a.directory.Login(user, password)
	if err != nil {
		return nil, a.badLogin(from, user, caller)
	}
	return a.loggedIn(conn, caller, user), nil
}

func (a *authenticator) loggedIn(conn *cqlserver.ConnInfo, caller *aws.Caller, name string) cqlserver.Session {
	region := a.cqlRegion(conn)
	a.guard.Succeeded(conn.Remote.Addr(), name)
	a.directory.NoteUse(caller, "cassandra", region)
	return keyspaces.NewSession(caller, nil, caller.AccountID, region)
}

// SigV4 begins an exchange. The nonce is random, of this connection, and serves
// for one answer, right or wrong.
func (a *authenticator) SigV4(_ context.Context, conn *cqlserver.ConnInfo) (string, func(context.Context, []byte) (cqlserver.Session, error), error) {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // does not fail (Go 1.24)
	nonce := hex.EncodeToString(raw[:])
	var used atomic.Bool
	return nonce, func(_ context.Context, response []byte) (cqlserver.Session, error) {
		from := conn.Remote.Addr()
		s, err := sigv4.ParseSASL(response)
		if used.Swap(true) || err != nil {
			return nil, a.badLogin(from, "", nil)
		}
		if err := a.admitLogin(from, s.AccessKeyID); err != nil {
			return nil, err
		}
		cred, err := a.directory.Credential(s.AccessKeyID, s.SessionToken)
		if err == nil {
			err = s.Verify(nonce, cred.Secret, a.cqlRegion(conn), a.now(), apiSkew)
		}
		if err != nil {
			return nil, a.badLogin(from, s.AccessKeyID, cred.Caller)
		}
		return a.loggedIn(conn, cred.Caller, s.AccessKeyID), nil
	}, nil
}

// rejected records a login to CQL that failed. The user or key is named, not
// proven. A name that belongs to nobody is the default account's to know, where
// it does not name another. Whoever is slowed down makes no records.
func (s *Server) rejected(_ context.Context, r cqlserver.Rejection) {
	if r.Reason != cqlserver.RejectAuthentication || r.Err.Code == cql.CodeOverloaded {
		return
	}
	caller := &aws.Caller{Type: aws.Unknown, AccountID: s.cfg.Account, UserName: r.User}
	var le *loginError
	if errors.As(r.Err.Err, &le) && le.claimed != nil {
		caller.AccountID, caller.AccessKeyID = le.claimed.AccountID, le.claimed.AccessKeyID
	} else if account, ok := s.directory.AccountOfLogin(r.User); ok {
		caller.AccountID = account
	}
	c := &call.Call{RequestID: call.NewID(), EventID: call.NewID(), Region: s.auth.cqlRegion(r.Conn), AccountID: caller.AccountID, Start: time.Now(),
		Caller: caller, SourceIP: r.Conn.Remote.Addr().Unmap().String(), UserAgent: fmt.Sprintf("Cassandra Client/ProtocolV%d", r.Conn.Protocol)}
	if r.Conn.TLS != nil {
		c.TLS = record.NewTLS(r.Conn.TLS, r.Conn.TLS.ServerName)
	}
	err := aws.NewError(aws.Unauthenticated, "AccessDenied", "Provided username and/or password are incorrect")
	if jerr := s.path.Reject(c, err, func(rec *record.Record) {
		rec.EventSource, rec.EventName, rec.APIVersion, rec.ReadOnly = "cassandra.amazonaws.com", "Authenticate", "3.4.4", true
	}); !errors.Is(jerr, err) {
		s.log.Error("a failed login could not be recorded", "err", jerr)
	}
}
