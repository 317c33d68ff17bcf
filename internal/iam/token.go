package iam

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"time"

	"spoor/internal/aws"
)

// A session token is the session itself, sealed: who it is for, until when,
// with what narrowing, and the temporary secret. Whoever holds the master key
// can check it without looking anything up; who does not can neither read nor
// change it. Only what may change under it, the role or user, is looked up.

// maxToken bounds a token in bytes, far above what the largest session makes
// (2048 characters of policies, 50 tags of 128 and 256 characters).
const maxToken = 64 << 10

const tokenName = "sts/session-token"

// errBadToken is a token whose content this build did not write.
var errBadToken = errors.New("iam: the content of a session token is malformed")

// grantsNothing stands for a session policy whose managed policy is gone.
// Leaving it out would lift the narrowing instead; that it denies what the
// session's other policies allow errs on the safe side.
const grantsNothing = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`

type sessionToken struct {
	Version        int               `json:"v"`
	KeyID          string            `json:"k"`
	Secret         string            `json:"x"`
	Account        string            `json:"a"`
	Type           aws.IdentityType  `json:"t"`
	Principal      string            `json:"p,omitempty"` // id of the role or user; "" for root
	Name           string            `json:"n,omitempty"`
	Created        int64             `json:"c"` // unix seconds
	Expires        int64             `json:"e"` // unix seconds
	MFA            bool              `json:"m,omitempty"`
	SourceIdentity string            `json:"s,omitempty"`
	Policies       []string          `json:"d,omitempty"`
	PolicyARNs     []string          `json:"r,omitempty"`
	Tags           map[string]string `json:"g,omitempty"`
	Transitive     []string          `json:"h,omitempty"`
	Provider       string            `json:"w,omitempty"`
	// Claims are the condition keys of a web identity.
	Claims map[string][]string `json:"j,omitempty"`
}

// SessionRequest says what a temporary credential is for.
type SessionRequest struct {
	Account string
	// Type is AssumedRole, FederatedUser, IAMUser or Root; the latter two are
	// GetSessionToken's.
	Type aws.IdentityType
	// PrincipalID is the role's or user's id; empty for root.
	PrincipalID    string
	Name           string // role session name or federated user name
	Duration       time.Duration
	MFA            bool
	SourceIdentity string
	// Policies are session policy documents, PolicyARNs managed ones.
	Policies          []string
	PolicyARNs        []string
	Tags              map[string]string
	TransitiveTagKeys []string
	FederatedProvider string
	// Claims are condition keys that the web identity's token proves
	// ("accounts.example.com:sub"), lower-cased.
	Claims map[string][]string
}

// SessionCredentials is a temporary credential. Nothing of it is stored.
type SessionCredentials struct {
	AccessKeyID, SecretAccessKey, SessionToken string
	Expiration                                 time.Time
	Caller                                     *aws.Caller
}

// Issue makes a temporary credential. It decides nothing: whether the caller
// may have it is for the call's authorisation.
func (d *Directory) Issue(r SessionRequest) (SessionCredentials, error) {
	now := d.wholeSecond()
	t := sessionToken{
		Version: entityVersion, KeyID: newAccessKeyID(temporaryKey, r.Account), Secret: newSecret(), Account: r.Account,
		Type: r.Type, Principal: r.PrincipalID, Name: r.Name, Created: now.Unix(), Expires: now.Add(r.Duration).Unix(), MFA: r.MFA,
		SourceIdentity: r.SourceIdentity, Policies: r.Policies, PolicyARNs: r.PolicyARNs, Tags: r.Tags,
		Transitive: r.TransitiveTagKeys, Provider: r.FederatedProvider, Claims: r.Claims,
	}
	caller, err := d.sessionCaller(&t)
	if err != nil {
		return SessionCredentials{}, err
	}
	plain, err := packToken(&t)
	if err != nil {
		return SessionCredentials{}, err
	}
	return SessionCredentials{AccessKeyID: t.KeyID, SecretAccessKey: t.Secret, Expiration: time.Unix(t.Expires, 0).UTC(), Caller: caller,
		SessionToken: base64.StdEncoding.EncodeToString(d.sealer.Seal(tokenName, plain))}, nil
}

func (d *Directory) sessionCredential(accessKeyID, token string) (Credential, error) {
	if len(token) > maxToken {
		return Credential{}, invalidToken()
	}
	sealed, err := base64.StdEncoding.Strict().DecodeString(token)
	if err != nil {
		return Credential{}, invalidToken()
	}
	plain, err := d.sealer.Open(tokenName, sealed)
	if err != nil {
		return Credential{}, invalidToken()
	}
	t, err := unpackToken(plain)
	if err != nil || t.Version != entityVersion || t.KeyID != accessKeyID {
		return Credential{}, invalidToken()
	}
	caller, err := d.sessionCaller(t)
	if err != nil {
		return Credential{}, err
	}
	if expired(caller.Session, d.now()) {
		return Credential{Caller: caller}, expiredToken()
	}
	return Credential{Secret: t.Secret, Caller: caller}, nil
}

// sessionCaller is the caller of a session as its role or user is now.
func (d *Directory) sessionCaller(t *sessionToken) (*aws.Caller, error) {
	a := d.account(t.Account)
	if a == nil {
		return nil, invalidToken()
	}
	s := &aws.Session{Name: t.Name, CreationDate: time.Unix(t.Created, 0).UTC(), Expiration: time.Unix(t.Expires, 0).UTC(),
		MFA: t.MFA, IssuerAccountID: t.Account, SourceIdentity: t.SourceIdentity, TransitiveTagKeys: t.Transitive,
		FederatedProvider: t.Provider, Claims: t.Claims, Policies: t.Policies}
	for _, arn := range t.PolicyARNs {
		s.Policies = append(s.Policies[:len(s.Policies):len(s.Policies)], d.documentOf(a, arn))
	}
	c := &aws.Caller{Type: t.Type, AccountID: t.Account, AccessKeyID: t.KeyID, Session: s, MFA: t.MFA}
	if t.Type == aws.AssumedRole {
		r := a.roleByID(t.Principal)
		if r == nil {
			return nil, invalidToken()
		}
		s.IssuerType, s.IssuerPrincipalID, s.IssuerARN, s.IssuerUserName = "Role", r.ID, a.roleARN(r), r.Name
		c.PrincipalID = r.ID + ":" + t.Name
		c.ARN = aws.NewARN("sts", "", t.Account, "assumed-role/"+r.Name+"/"+t.Name).String()
		c.Tags = overlay(r.tagMap, t.Tags)
		return c, nil
	}
	if t.Principal == "" {
		s.IssuerType, s.IssuerPrincipalID, s.IssuerARN = string(aws.Root), t.Account, a.rootARN()
		c.PrincipalID, c.ARN = t.Account, a.rootARN()
	} else {
		u := a.userByID(t.Principal)
		if u == nil {
			return nil, invalidToken()
		}
		s.IssuerType, s.IssuerPrincipalID, s.IssuerARN, s.IssuerUserName = string(aws.IAMUser), u.ID, a.userARN(u), u.Name
		c.PrincipalID, c.ARN, c.UserName, c.Tags = u.ID, a.userARN(u), u.Name, u.tagMap
	}
	if t.Type == aws.FederatedUser {
		c.PrincipalID = t.Account + ":" + t.Name
		c.ARN = aws.NewARN("sts", "", t.Account, "federated-user/"+t.Name).String()
		c.UserName, c.Tags = "", overlay(c.Tags, t.Tags)
	}
	return c, nil
}

// documentOf is the default version's document of a managed policy.
func (d *Directory) documentOf(a *account, arn string) string {
	p := d.policy(a, arn)
	if p == nil {
		return grantsNothing
	}
	if v := p.version(p.Default); v != nil {
		return v.Document
	}
	return grantsNothing
}

// overlay is base with over's tags, which win: keys are told apart without
// case (IAM user guide, "Rules for tagging in IAM and AWS STS").
func overlay(base, over map[string]string) map[string]string {
	if len(over) == 0 {
		return base
	}
	m := maps.Clone(over)
	seen := make(map[string]bool, len(over))
	for k := range over {
		seen[fold(k)] = true
	}
	for k, v := range base {
		if !seen[fold(k)] {
			m[k] = v
		}
	}
	return m
}

// The first byte of a token's content says how the rest is written.
const (
	tokenPlain    = 0
	tokenDeflated = 1
)

// deflateFrom is the size in bytes from which a token is compressed: policies
// and tags may make one so large that it does not fit in a header or a
// presigned URL. Most sessions have neither, and opening them stays cheap.
const deflateFrom = 1 << 10

func packToken(t *sessionToken) ([]byte, error) {
	text, err := json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("encoding a session token: %w", err)
	}
	if len(text) < deflateFrom {
		return append([]byte{tokenPlain}, text...), nil
	}
	var b bytes.Buffer
	b.WriteByte(tokenDeflated)
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		return nil, fmt.Errorf("compressing a session token: %w", err)
	}
	_, err = w.Write(text)
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, fmt.Errorf("compressing a session token: %w", err)
	}
	return b.Bytes(), nil
}

// unpackToken reads what packToken wrote. What it is given is authentic.
func unpackToken(plain []byte) (*sessionToken, error) {
	if len(plain) == 0 {
		return nil, errBadToken
	}
	text := plain[1:]
	switch plain[0] {
	case tokenPlain:
	case tokenDeflated:
		var err error
		if text, err = io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(text)), maxToken+1)); err != nil || len(text) > maxToken {
			return nil, errBadToken
		}
	default:
		return nil, errBadToken
	}
	t := &sessionToken{}
	if err := json.Unmarshal(text, t); err != nil {
		return nil, errBadToken
	}
	return t, nil
}
