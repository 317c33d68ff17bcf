package iam

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"spoor/internal/aws"
	"spoor/internal/policy"
)

// entityVersion is the version of the entities' JSON form. A value with a
// higher one was written by a later build and is refused.
const entityVersion = 1

// account is one account's state. It is immutable once published; the maps are
// shared between snapshots as long as they do not change.
type account struct {
	settings *settings
	users    map[string]*user          // by folded name
	groups   map[string]*group         // by folded name
	roles    map[string]*role          // by folded name
	policies map[string]*managedPolicy // by ARN

	profiles  map[string]*instanceProfile // by folded name
	providers map[string]*oidcProvider    // by ARN

	ids    map[string]string // AIDA…, AGPA…, AROA… → folded name
	keys   map[string]string // access key id → its user's id, "" for root's
	logins map[string]string // service user name → its user's id
}

// settings is what belongs to the account itself.
type settings struct {
	Version        int             `json:"v"`
	ID             string          `json:"id"`
	Created        time.Time       `json:"created"`
	Alias          string          `json:"alias,omitempty"`
	RootKeys       []accessKey     `json:"rootKeys,omitempty"`
	PasswordPolicy *passwordPolicy `json:"passwordPolicy,omitempty"`
}

// grants are the policies of a user, group or role.
type grants struct {
	Inline   map[string]string `json:"inline,omitempty"`   // document by name
	Attached []string          `json:"attached,omitempty"` // ARNs, in the order of attachment
	compiled []*policy.Policy  // of Inline, in the order of names
}

type user struct {
	Version          int                 `json:"v"`
	ID               string              `json:"id"`
	Name             string              `json:"name"`
	Path             string              `json:"path"`
	Created          time.Time           `json:"created"`
	Tags             []tag               `json:"tags,omitempty"`
	Boundary         string              `json:"boundary,omitempty"`
	Groups           []string            `json:"groups,omitempty"` // ids
	Keys             []accessKey         `json:"keys,omitempty"`
	Credentials      []serviceCredential `json:"credentials,omitempty"`
	Login            *loginProfile       `json:"login,omitempty"`
	PasswordLastUsed time.Time           `json:"passwordLastUsed,omitzero"`
	grants
	tagMap map[string]string
}

type group struct {
	Version int       `json:"v"`
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Path    string    `json:"path"`
	Created time.Time `json:"created"`
	grants
}

type role struct {
	Version     int       `json:"v"`
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	Path        string    `json:"path"`
	Created     time.Time `json:"created"`
	Description string    `json:"description,omitempty"`
	Trust       string    `json:"trust"`
	MaxSession  int32     `json:"maxSession"` // seconds
	Tags        []tag     `json:"tags,omitempty"`
	Boundary    string    `json:"boundary,omitempty"`
	grants
	tagMap map[string]string
}

// managedPolicy is a managed policy, the customer's or AWS's.
type managedPolicy struct {
	Version     int             `json:"v"`
	ID          string          `json:"id"`
	ARN         string          `json:"arn"`
	Name        string          `json:"name"`
	Path        string          `json:"path"`
	Created     time.Time       `json:"created"`
	Updated     time.Time       `json:"updated"`
	Description string          `json:"description,omitempty"`
	Default     string          `json:"default"` // "v1"
	Next        int             `json:"next"`    // number of the next version
	Versions    []policyVersion `json:"versions"`
	Tags        []tag           `json:"tags,omitempty"`
	compiled    *policy.Policy  // of the default version
}

type policyVersion struct {
	ID       string    `json:"id"`
	Document string    `json:"document"`
	Created  time.Time `json:"created"`
}

// instanceProfile holds at most one role. There are no instances here that
// would use it; it is kept so that configurations which declare one work.
type instanceProfile struct {
	Version int       `json:"v"`
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Path    string    `json:"path"`
	Created time.Time `json:"created"`
	Role    string    `json:"role,omitempty"` // id
	Tags    []tag     `json:"tags,omitempty"`
}

// oidcProvider is an OpenID Connect issuer that an account declared.
type oidcProvider struct {
	Version     int       `json:"v"`
	ARN         string    `json:"arn"`
	URL         string    `json:"url"` // without https://
	Created     time.Time `json:"created"`
	ClientIDs   []string  `json:"clientIds,omitempty"`
	Thumbprints []string  `json:"thumbprints,omitempty"`
	Tags        []tag     `json:"tags,omitempty"`
}

type accessKey struct {
	ID       string    `json:"id"`
	Inactive bool      `json:"inactive,omitempty"`
	Created  time.Time `json:"created"`
	secret   string    // sealed under secretKey in the store
}

// serviceCredential is a user name and password for CQL. The password is 256
// random bits that this server made, so one round of a salted hash is enough.
type serviceCredential struct {
	ID       string    `json:"id"`
	Service  string    `json:"service"`
	UserName string    `json:"userName"`
	Inactive bool      `json:"inactive,omitempty"`
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires,omitzero"`
	Salt     []byte    `json:"salt"`
	Hash     []byte    `json:"hash"`
}

// loginProfile is a password that a human chose, so its hash is slow.
type loginProfile struct {
	Created       time.Time `json:"created"`
	ResetRequired bool      `json:"resetRequired,omitempty"`
	Changed       time.Time `json:"changed"`
	Salt          []byte    `json:"salt"`
	Hash          []byte    `json:"hash"`
	Iterations    int       `json:"iterations"`
	// Earlier are the hashes of passwords before this one, the latest first, as
	// many as a password policy can forbid to use again. They share the salt, so
	// that one derivation tells whether a password is any of them.
	Earlier [][]byte `json:"earlier,omitempty"`
}

type passwordPolicy struct {
	MinimumLength   int32 `json:"minimumLength"`
	Symbols         bool  `json:"symbols,omitempty"`
	Numbers         bool  `json:"numbers,omitempty"`
	Uppercase       bool  `json:"uppercase,omitempty"`
	Lowercase       bool  `json:"lowercase,omitempty"`
	AllowChange     bool  `json:"allowChange,omitempty"`
	MaxAge          int32 `json:"maxAge,omitempty"`          // days; 0 means none
	ReusePrevention int32 `json:"reusePrevention,omitempty"` // passwords; 0 means none
	HardExpiry      *bool `json:"hardExpiry,omitempty"`
}

type tag struct {
	Key   string `json:"k"`
	Value string `json:"v"`
}

// fold makes a name's key: IAM names are unique whatever their case.
func fold(name string) string { return strings.ToLower(name) }

func (a *account) arn(kind, path, name string) string {
	return aws.NewARN("iam", "", a.settings.ID, kind+path+name).String()
}

func (a *account) rootARN() string { return aws.NewARN("iam", "", a.settings.ID, "root").String() }

func (a *account) userARN(u *user) string   { return a.arn("user", u.Path, u.Name) }
func (a *account) groupARN(g *group) string { return a.arn("group", g.Path, g.Name) }
func (a *account) roleARN(r *role) string   { return a.arn("role", r.Path, r.Name) }

func (a *account) profileARN(p *instanceProfile) string {
	return a.arn("instance-profile", p.Path, p.Name)
}

func (a *account) userByID(id string) *user {
	if u := a.users[a.ids[id]]; u != nil && u.ID == id {
		return u
	}
	return nil
}

func (a *account) groupByID(id string) *group {
	if g := a.groups[a.ids[id]]; g != nil && g.ID == id {
		return g
	}
	return nil
}

func (a *account) roleByID(id string) *role {
	if r := a.roles[a.ids[id]]; r != nil && r.ID == id {
		return r
	}
	return nil
}

// members are the group's users, by name.
func (a *account) members(g *group) []*user {
	var out []*user
	for _, u := range a.users {
		if slices.Contains(u.Groups, g.ID) {
			out = append(out, u)
		}
	}
	slices.SortFunc(out, func(x, y *user) int { return compareFold(x.Name, y.Name) })
	return out
}

// compareFold orders names as pages of lists do.
func compareFold(x, y string) int { return cmp.Compare(fold(x), fold(y)) }

// The copies below are what a writer changes: one level deep, with the lists
// that writers change in place copied too.

func (u *user) copy() *user {
	n := *u
	n.Tags, n.Groups = slices.Clone(u.Tags), slices.Clone(u.Groups)
	n.Keys, n.Credentials = slices.Clone(u.Keys), slices.Clone(u.Credentials)
	n.grants = u.grants.copy()
	if u.Login != nil {
		n.Login = new(*u.Login)
		n.Login.Earlier = slices.Clone(u.Login.Earlier)
	}
	return &n
}

func (g *group) copy() *group {
	n := *g
	n.grants = g.grants.copy()
	return &n
}

func (r *role) copy() *role {
	n := *r
	n.Tags = slices.Clone(r.Tags)
	n.grants = r.grants.copy()
	return &n
}

func (p *managedPolicy) copy() *managedPolicy {
	n := *p
	n.Versions, n.Tags = slices.Clone(p.Versions), slices.Clone(p.Tags)
	return &n
}

func (p *instanceProfile) copy() *instanceProfile {
	n := *p
	n.Tags = slices.Clone(p.Tags)
	return &n
}

func (p *oidcProvider) copy() *oidcProvider {
	n := *p
	n.ClientIDs, n.Thumbprints, n.Tags = slices.Clone(p.ClientIDs), slices.Clone(p.Thumbprints), slices.Clone(p.Tags)
	return &n
}

func (s *settings) copy() *settings {
	n := *s
	n.RootKeys = slices.Clone(s.RootKeys)
	return &n
}

func (g *grants) copy() grants {
	return grants{Inline: maps.Clone(g.Inline), Attached: slices.Clone(g.Attached), compiled: g.compiled}
}

func (p *managedPolicy) version(id string) *policyVersion {
	for i := range p.Versions {
		if p.Versions[i].ID == id {
			return &p.Versions[i]
		}
	}
	return nil
}

func tagMap(tags []tag) map[string]string {
	if len(tags) == 0 {
		return nil
	}
	m := make(map[string]string, len(tags))
	for _, t := range tags {
		m[t.Key] = t.Value
	}
	return m
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
