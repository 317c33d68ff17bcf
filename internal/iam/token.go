package iam

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
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
		Transitive: r.TransitiveTagKeys, Provider: r.FederatedProvider,
	}
	caller, err := d.sessionCaller(&t)
	if err != nil {
		return SessionCredentials{}, err
	}
	plain, err := json.Marshal(t)
	if err != nil {
		return SessionCredentials{}, fmt.Errorf("encoding a session token: %w", err)
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
	var t sessionToken
	if err := json.Unmarshal(plain, &t); err != nil || t.Version != entityVersion || t.KeyID != accessKeyID {
		return Credential{}, invalidToken()
	}
	caller, err := d.sessionCaller(&t)
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
		FederatedProvider: t.Provider, Policies: t.Policies}
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

func overlay(base, over map[string]string) map[string]string {
	if len(over) == 0 {
		return base
	}
	m := make(map[string]string, len(base)+len(over))
	for k, v := range base {
		m[k] = v
	}
	for k, v := range over {
		m[k] = v
	}
	return m
}
