package aws

import "time"

// IdentityType is userIdentity.type of a CloudTrail record
// (CloudTrail user guide, "CloudTrail userIdentity element").
type IdentityType string

const (
	Root            IdentityType = "Root"
	IAMUser         IdentityType = "IAMUser"
	AssumedRole     IdentityType = "AssumedRole"
	FederatedUser   IdentityType = "FederatedUser"
	WebIdentityUser IdentityType = "WebIdentityUser"
	AWSAccount      IdentityType = "AWSAccount"
	AWSService      IdentityType = "AWSService"
	// Anonymous is a caller without a credential. Only S3 with a public bucket
	// policy and web identity federation let one in; in a record it is an
	// AWSAccount whose accountId is "anonymous".
	Anonymous IdentityType = "Anonymous"
	// Unknown is a caller that named a credential and did not prove to hold it.
	Unknown IdentityType = "Unknown"
)

// Caller is who made a call, as proven by its credential. A Caller does not
// change after authentication and may be shared by concurrent calls.
type Caller struct {
	Type        IdentityType
	AccountID   string
	PrincipalID string // AIDA…, AROA…:session, or the account id for root
	ARN         string // the ARN a record shows: of the user, of the role session, of root
	UserName    string // IAM user name; empty for roles
	AccessKeyID string
	// CredentialID is the id of the service-specific credential of a CQL login
	// by password; empty for access keys.
	CredentialID string
	Session      *Session // nil for long-term credentials
	// InvokedBy is the service principal that acts for the caller, or empty.
	InvokedBy string
	// IdentityProvider is set for WebIdentityUser only.
	IdentityProvider string
	// Tags are the principal's and the session's tags, the session's winning.
	Tags map[string]string
	// MFA is true when the credential was made with a second factor.
	MFA bool
}

// Session is what a temporary credential carries beside its secret.
type Session struct {
	Name         string // role session name or federated user name
	CreationDate time.Time
	Expiration   time.Time
	MFA          bool
	// Issuer is the role (or user, for GetSessionToken and GetFederationToken)
	// that the session acts for.
	IssuerType        string // "Role", "IAMUser", "Root"
	IssuerPrincipalID string
	IssuerARN         string
	IssuerAccountID   string
	IssuerUserName    string // the role's or user's name
	SourceIdentity    string
	// Policies are the session policies' documents; they can only narrow.
	Policies []string
	// TransitiveTagKeys are the session tags that a chained role keeps.
	TransitiveTagKeys []string
	// FederatedProvider names the web identity provider, or is empty.
	FederatedProvider string
	// Claims are the condition keys that a web identity's token proved
	// ("accounts.example.com:sub"), lower-cased.
	Claims map[string][]string
}

// AnonymousCaller is the caller of an unsigned request.
func AnonymousCaller() *Caller {
	return &Caller{Type: Anonymous, AccountID: "anonymous"}
}
