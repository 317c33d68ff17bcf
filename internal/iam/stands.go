package iam

import (
	"slices"

	"spoor/internal/aws"
)

// stands reports whether the credential that proved a caller is still good. An
// HTTP call proves its credential itself; a CQL connection does so once and
// may live for days, so each of its statements is judged by the credential as
// it is now: a key or password that was made inactive, reset or deleted, a
// deleted user or role and a session that ended all end what was opened with
// them. The connection stays, and may say so for each statement.
func (d *Directory) stands(c *aws.Caller) error {
	ended := func(why string) error {
		return fail(aws.Denied, 403, "AccessDenied", "User: %s is not authorized: %s", c.ARN, why)
	}
	const invalid, over = "the security token included in the request is invalid", "the security token included in the request is expired"
	if c.Session != nil && expired(c.Session, d.now()) {
		return ended(over)
	}
	a := d.account(c.AccountID)
	if a == nil {
		return nil // anonymous callers and services prove no credential
	}
	holds := func(keys []accessKey) bool {
		return slices.ContainsFunc(keys, func(k accessKey) bool { return k.ID == c.AccessKeyID && !k.Inactive })
	}
	good := true
	switch {
	case c.Session != nil && c.Type == aws.AssumedRole:
		good = a.roleByID(issuerID(c)) != nil
	case c.Session != nil && c.Session.IssuerType == "IAMUser":
		good = a.userByID(issuerID(c)) != nil
	case c.Session != nil:
	case c.Type == aws.Root && c.AccessKeyID != "":
		good = holds(a.settings.RootKeys)
	case c.Type == aws.IAMUser:
		u := a.userByID(c.PrincipalID)
		switch {
		case u == nil:
			good = false
		case c.CredentialID != "":
			good = slices.ContainsFunc(u.Credentials, func(s serviceCredential) bool {
				return s.ID == c.CredentialID && !s.Inactive && (s.Expires.IsZero() || d.now().Before(s.Expires))
			})
		case c.AccessKeyID != "":
			good = holds(u.Keys)
		}
	}
	if !good {
		return ended(invalid)
	}
	return nil
}
