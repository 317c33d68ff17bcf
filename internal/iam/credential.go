package iam

import (
	"crypto/sha256"
	"crypto/subtle"
	"strings"
	"time"

	"spoor/internal/aws"
)

// Credential is what an access key proves.
type Credential struct {
	// Secret is the secret access key. Empty when the error is not nil.
	Secret string
	// Caller is who holds the key. With an error it is who claims to, and nil
	// when the key is not known at all.
	Caller *aws.Caller
}

// invalidToken and expiredToken are what STS and IAM answer; the JSON protocols
// have names of their own for the first (UnrecognizedClientException) and the
// second (ExpiredTokenException).
func invalidToken() *aws.Error {
	return fail(aws.Unauthenticated, 403, "InvalidClientTokenId", "The security token included in the request is invalid.")
}

func expiredToken() *aws.Error {
	return fail(aws.Unauthenticated, 403, "ExpiredToken", "The security token included in the request is expired")
}

// Credential looks up an access key, long-term or, with a session token,
// temporary. It does not verify anything but the token: that the caller holds
// the secret is for the signature to show.
//
// It fails with InvalidClientTokenId when the key does not exist, is inactive,
// belongs to another token, or its user or role is gone, and with ExpiredToken
// when the session is over.
func (d *Directory) Credential(accessKeyID, sessionToken string) (Credential, error) {
	if sessionToken != "" {
		return d.sessionCredential(accessKeyID, sessionToken)
	}
	id, ok := AccountOfKey(accessKeyID)
	if !ok {
		return Credential{}, invalidToken()
	}
	a := d.account(id)
	if a == nil {
		return Credential{}, invalidToken()
	}
	owner, ok := a.keys[accessKeyID]
	if !ok {
		return Credential{}, invalidToken()
	}
	keys := a.settings.RootKeys
	caller := a.rootCaller(accessKeyID)
	if owner != "" {
		u := a.userByID(owner)
		if u == nil {
			return Credential{}, invalidToken()
		}
		keys, caller = u.Keys, a.userCaller(u, accessKeyID)
	}
	for i := range keys {
		if keys[i].ID != accessKeyID {
			continue
		}
		if keys[i].Inactive {
			return Credential{Caller: caller}, invalidToken()
		}
		return Credential{Secret: keys[i].secret, Caller: caller}, nil
	}
	return Credential{}, invalidToken()
}

func (a *account) rootCaller(accessKeyID string) *aws.Caller {
	return &aws.Caller{Type: aws.Root, AccountID: a.settings.ID, PrincipalID: a.settings.ID, ARN: a.rootARN(), AccessKeyID: accessKeyID}
}

func (a *account) userCaller(u *user, accessKeyID string) *aws.Caller {
	return &aws.Caller{Type: aws.IAMUser, AccountID: a.settings.ID, PrincipalID: u.ID, ARN: a.userARN(u),
		UserName: u.Name, AccessKeyID: accessKeyID, Tags: u.tagMap}
}

// CQLService is the service that service-specific credentials are made for
// (Amazon Keyspaces developer guide, "Create service-specific credentials").
const CQLService = "cassandra.amazonaws.com"

// Login checks a service user name and password for CQL. The time it takes
// does not tell whether the name exists. With an error the caller is who the
// name belongs to, or nil.
func (d *Directory) Login(userName, password string) (*aws.Caller, error) {
	a, u, cred := d.login(userName)
	var salt, want []byte
	if cred != nil {
		salt, want = cred.Salt, cred.Hash
	} else {
		salt, want = make([]byte, saltSize), make([]byte, sha256.Size)
	}
	got := servicePasswordHash(salt, password)
	match := subtle.ConstantTimeCompare(got, want) == 1
	if cred == nil {
		return nil, invalidToken()
	}
	caller := a.userCaller(u, "")
	if !match || cred.Inactive || cred.Service != CQLService || !cred.Expires.IsZero() && !d.now().Before(cred.Expires) {
		return caller, invalidToken()
	}
	caller.CredentialID = cred.ID
	return caller, nil
}

// login finds a service user name, which ends in "-at-" and its account.
func (d *Directory) login(userName string) (*account, *user, *serviceCredential) {
	i := strings.LastIndex(userName, "-at-")
	if i < 0 {
		return nil, nil, nil
	}
	a := d.account(userName[i+len("-at-"):])
	if a == nil {
		return nil, nil, nil
	}
	u := a.userByID(a.logins[userName])
	if u == nil {
		return nil, nil, nil
	}
	for i := range u.Credentials {
		if u.Credentials[i].UserName == userName {
			return a, u, &u.Credentials[i]
		}
	}
	return nil, nil, nil
}

// AccountOfLogin is the account that a service user name says it belongs to,
// whether or not there is such a user. ok is false when the account does not
// exist.
func (d *Directory) AccountOfLogin(userName string) (account string, ok bool) {
	i := strings.LastIndex(userName, "-at-")
	if i < 0 || !d.HasAccount(userName[i+len("-at-"):]) {
		return "", false
	}
	return userName[i+len("-at-"):], true
}

const saltSize = 16

// servicePasswordHash hashes a service password, which is 256 random bits.
func servicePasswordHash(salt []byte, password string) []byte {
	h := sha256.New()
	h.Write([]byte("spoor service password\x00"))
	h.Write(salt)
	h.Write([]byte(password))
	return h.Sum(nil)
}

// newServiceCredential makes a credential for CQL and its password.
func (d *Directory) newServiceCredential(service, userName string) (serviceCredential, string) {
	c := serviceCredential{ID: newID(prefixCredential), Service: service, UserName: userName, Created: d.wholeSecond()}
	password := newPassword()
	c.setPassword(password)
	return c, password
}

func (c *serviceCredential) setPassword(password string) {
	c.Salt = random(saltSize)
	c.Hash = servicePasswordHash(c.Salt, password)
}

// expired reports whether a session is over.
func expired(s *aws.Session, now time.Time) bool { return s != nil && !now.Before(s.Expiration) }
