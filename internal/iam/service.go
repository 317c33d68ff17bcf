package iam

import (
	"context"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"spoor/internal/aws"
	"spoor/internal/call"
)

// Quotas of IAM ("IAM and AWS STS quotas", default values).
const (
	maxKeysPerUser        = 2
	maxCredentials        = 2 // per user and service
	maxTags               = 50
	maxGroupsPerUser      = 10
	maxAttached           = 10 // managed policies of a user, group or role
	maxPolicyVersions     = 5
	maxUsers              = 5000
	maxGroups             = 300
	maxRoles              = 1000
	maxPolicies           = 1500
	maxInlineUser         = 2048   // characters of all inline policies, without white space
	maxInlineGroup        = 5120   // likewise
	maxInlineRole         = 10240  // likewise
	maxManagedSize        = 6144   // characters, without white space
	maxDocumentSize       = 131072 // characters of any document (IAM API, policyDocumentType)
	maxInstanceProfiles   = 1000
	maxProviders          = 100  // OpenID Connect
	maxClientIDs          = 100  // per provider
	maxThumbprints        = 5    // per provider
	maxTrustSize          = 2048 // characters
	defaultMaxSession     = 3600 // seconds
	minMaxSession         = 3600
	maxMaxSession         = 43200
	defaultPage           = 100
	maxPage               = 1000
	passwordIterations    = 600_000 // PBKDF2-HMAC-SHA256 (OWASP password storage cheat sheet)
	defaultPasswordLength = 8
	maxPasswordLength     = 128
)

// api is IAM's API on a directory.
type api struct{ d *Directory }

// Service is AWS IAM as the HTTP listener serves it.
func (d *Directory) Service() *call.Service {
	s := &api{d}
	ops := slices.Concat(s.userOperations(), s.keyOperations(), s.credentialOperations(), s.roleOperations(), s.grantOperations(),
		s.groupOperations(), s.groupGrantOperations(), s.policyOperations(), s.policyVersionOperations(), s.loginOperations(), s.accountOperations(), s.profileOperations(),
		s.providerOperations(), s.absentOperations(), s.contextKeyOperations(), s.simulateOperations())
	return &call.Service{
		Name: service, EventSource: "iam.amazonaws.com", APIVersion: "2010-05-08", Protocol: call.Query,
		XMLNamespace: "https://iam.amazonaws.com/doc/2010-05-08/", Global: true,
		Operations: ops, Refused: refusedOperations(), RefusedError: refusedErrors(), ValidationError: invalidValue,
	}
}

// target is what an operation acts on: a resource and the condition keys that
// go with it.
type target struct {
	arn  string
	keys map[string][]string
}

// with adds a condition key.
func (t target) with(key string, values ...string) target {
	if t.keys == nil {
		t.keys = map[string][]string{}
	}
	t.keys[strings.ToLower(key)] = values
	return t
}

// requestTags adds the keys of tags given with a call.
func (t target) requestTags(tags []types.Tag) target {
	if len(tags) == 0 {
		return t
	}
	names := make([]string, 0, len(tags))
	for _, x := range tags {
		names = append(names, str(x.Key))
		t = t.with("aws:RequestTag/"+str(x.Key), str(x.Value))
	}
	return t.with("aws:TagKeys", names...)
}

// resourceTags adds the keys of the tags that the target has.
func (t target) resourceTags(tags []tag) target {
	for _, x := range tags {
		t = t.with("aws:ResourceTag/"+x.Key, x.Value).with("iam:ResourceTag/"+x.Key, x.Value)
	}
	return t
}

// policy adds the key of a policy that is attached or detached.
func (t target) policy(arn *string) target { return t.with("iam:PolicyARN", str(arn)) }

func (t target) boundary(arn *string) target {
	if str(arn) != "" {
		return t.with("iam:PermissionsBoundary", str(arn))
	}
	return t
}

// op makes an operation whose action is iam:name on the target.
func op[I, O any](name string, on func(c *call.Call, in *I) target, handle func(c *call.Call, in *I) (*O, error),
	set ...func(*call.Operation)) call.Operation {
	return opEach(name, func(c *call.Call, in *I) []call.Permission { return []call.Permission{on(c, in).action("iam:" + name)} }, handle, set...)
}

func (t target) action(name string) call.Permission {
	return call.Permission{Action: name, Resource: t.arn, Context: t.keys}
}

// opEach makes an operation that needs several permissions.
//
// Credentials of GetSessionToken without a second factor and those of
// GetFederationToken cannot call IAM (IAM user guide, "Compare AWS STS
// credentials").
func opEach[I, O any](name string, need func(c *call.Call, in *I) []call.Permission, handle func(c *call.Call, in *I) (*O, error),
	set ...func(*call.Operation)) call.Operation {
	permissions := func(c *call.Call, in *I) ([]call.Permission, error) {
		if s := c.Caller.Session; s != nil && c.Caller.Type != aws.AssumedRole && !s.MFA {
			return nil, invalidToken()
		}
		return need(c, in), nil
	}
	return call.Op(name, permissions, func(_ context.Context, c *call.Call, in *I) (*O, error) { return handle(c, in) }, set...)
}

// anything is the target of operations without a resource.
func anything[I any](*call.Call, *I) target { return target{arn: "*"} }

func accountARN(c *call.Call, resource string) string {
	return aws.NewARN("iam", "", c.AccountID, resource).String()
}

// The on… functions find an operation's target by name. A name that does not
// exist still makes an ARN, so that who may not know gets a denial and not a
// NoSuchEntity.

func (s *api) onUser(c *call.Call, name *string) target {
	n := str(name)
	a := s.d.account(c.AccountID)
	if n == "" {
		switch {
		case c.Caller.Type == aws.Root && a != nil:
			return target{arn: a.rootARN()}
		case c.Caller.UserName == "":
			return target{arn: accountARN(c, "user/")}
		}
		n = c.Caller.UserName
	}
	if a != nil {
		if u := a.users[fold(n)]; u != nil {
			return target{arn: a.userARN(u)}.resourceTags(u.Tags).boundary(&u.Boundary)
		}
	}
	return target{arn: accountARN(c, "user/"+n)}
}

func (s *api) onGroup(c *call.Call, name *string) target {
	if a := s.d.account(c.AccountID); a != nil {
		if g := a.groups[fold(str(name))]; g != nil {
			return target{arn: a.groupARN(g)}
		}
	}
	return target{arn: accountARN(c, "group/"+str(name))}
}

func (s *api) onRole(c *call.Call, name *string) target {
	if a := s.d.account(c.AccountID); a != nil {
		if r := a.roles[fold(str(name))]; r != nil {
			return target{arn: a.roleARN(r)}.resourceTags(r.Tags).boundary(&r.Boundary)
		}
	}
	return target{arn: accountARN(c, "role/"+str(name))}
}

func (s *api) onPolicy(c *call.Call, arn *string) target {
	t := target{arn: str(arn)}
	if a := s.d.account(c.AccountID); a != nil {
		if p := a.policies[t.arn]; p != nil {
			return t.resourceTags(p.Tags)
		}
	}
	return t
}

// onPath is the target of creations and listings: a kind below a path.
func onPath(c *call.Call, kind string, path *string, name string) target {
	p := str(path)
	if p == "" {
		p = "/"
	}
	return target{arn: accountARN(c, kind+p+name)}
}

// account is the call's account.
func (s *api) account(c *call.Call) (*account, error) {
	a := s.d.account(c.AccountID)
	if a == nil {
		return nil, noSuchAccount(c.AccountID)
	}
	return a, nil
}

// findUser finds a user by name, or the calling user when none is given.
func findUser(a *account, c *call.Call, name *string) (*user, error) {
	n := str(name)
	if n == "" {
		if c.Caller.Type != aws.IAMUser {
			return nil, validationError("Must specify userName when calling with non-User credentials")
		}
		if u := a.userByID(c.Caller.PrincipalID); u != nil {
			return u, nil
		}
		return nil, noUser(c.Caller.UserName)
	}
	if u := a.users[fold(n)]; u != nil {
		return u, nil
	}
	return nil, noUser(n)
}

func findGroup(a *account, name *string) (*group, error) {
	if g := a.groups[fold(str(name))]; g != nil {
		return g, nil
	}
	return nil, noGroup(str(name))
}

func findRole(a *account, name *string) (*role, error) {
	if r := a.roles[fold(str(name))]; r != nil {
		return r, nil
	}
	return nil, noRole(str(name))
}

// page is the part of a sorted list that a call asked for. The marker names
// the last item given, so a list that changes in between skips nothing else.
func page[T any](items []T, marker *string, size *int32, key func(T) string) (out []T, next *string, err error) {
	n := defaultPage
	if size != nil {
		n = int(*size)
	}
	if n < 1 || n > maxPage {
		return nil, nil, validationError("Value '%d' at 'maxItems' failed to satisfy constraint: Member must have value between 1 and %d", n, maxPage)
	}
	start := 0
	if str(marker) != "" {
		last, err := base64.RawURLEncoding.DecodeString(*marker)
		if err != nil {
			return nil, nil, validationError("Invalid Marker.")
		}
		start, _ = slices.BinarySearchFunc(items, string(last), func(x T, k string) int {
			if key(x) <= k {
				return -1
			}
			return 1
		})
	}
	items = items[start:]
	if len(items) <= n {
		return items, nil, nil
	}
	return items[:n], new(base64.RawURLEncoding.EncodeToString([]byte(key(items[n-1])))), nil
}

// convert makes the SDK's list, which is never nil: AWS sends empty lists.
func convert[T, U any](items []T, fn func(T) U) []U {
	out := make([]U, 0, len(items))
	for _, x := range items {
		out = append(out, fn(x))
	}
	return out
}

// byName are a map's values below a path, in the order of names.
func byName[V any](m map[string]V, prefix *string, path func(V) string) []V {
	out := make([]V, 0, len(m))
	for _, k := range sortedKeys(m) {
		if strings.HasPrefix(path(m[k]), str(prefix)) {
			out = append(out, m[k])
		}
	}
	return out
}

// setTags adds tags to those that are there; keys differ beyond their case.
func setTags(old []tag, add []types.Tag) ([]tag, error) {
	seen := map[string]bool{}
	for _, x := range add {
		k := str(x.Key)
		if strings.HasPrefix(fold(k), "aws:") {
			return nil, invalidInput("The tag key %s is reserved: keys that start with aws: belong to AWS.", k)
		}
		if seen[fold(k)] {
			return nil, invalidInput("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		}
		seen[fold(k)] = true
		i := slices.IndexFunc(old, func(t tag) bool { return fold(t.Key) == fold(k) })
		if i >= 0 {
			old[i] = tag{k, str(x.Value)}
		} else {
			old = append(old, tag{k, str(x.Value)})
		}
	}
	if len(old) > maxTags {
		return nil, fail(aws.LimitExceeded, http.StatusConflict, "LimitExceeded", "The number of tags has reached the maximum limit.")
	}
	return old, nil
}

func dropTags(old []tag, keys []string) []tag {
	return slices.DeleteFunc(old, func(t tag) bool {
		return slices.ContainsFunc(keys, func(k string) bool { return fold(k) == fold(t.Key) })
	})
}

// tagsOf is nil without tags, as AWS leaves the member out then.
func tagsOf(tags []tag) []types.Tag {
	if len(tags) == 0 {
		return nil
	}
	return tagList(tags)
}

func tagList(tags []tag) []types.Tag {
	return convert(tags, func(t tag) types.Tag { return types.Tag{Key: new(t.Key), Value: new(t.Value)} })
}

func boundaryOf(arn string) *types.AttachedPermissionsBoundary {
	if arn == "" {
		return nil
	}
	// The wire value differs from the model's enum; AWS sends "Policy".
	return &types.AttachedPermissionsBoundary{PermissionsBoundaryArn: new(arn), PermissionsBoundaryType: "Policy"}
}

// boundary checks an ARN that is to be a permissions boundary.
func (s *api) boundary(a *account, arn *string) (string, error) {
	if str(arn) == "" {
		return "", nil
	}
	if _, err := aws.ParseARN(*arn); err != nil {
		return "", invalidARN(*arn)
	}
	if s.d.policy(a, *arn) == nil {
		return "", noSuchEntity("Scope ARN: %s does not exist or is not attachable.", *arn)
	}
	return *arn, nil
}

func str(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

func pathOr(p *string) string {
	if str(p) == "" {
		return "/"
	}
	return *p
}

// optional is nil for an empty text, which AWS leaves out.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func quota(have, limit int, name string) error {
	if have >= limit {
		return limitExceeded(name, limit)
	}
	return nil
}

func status(inactive bool) types.StatusType {
	if inactive {
		return types.StatusTypeInactive
	}
	return types.StatusTypeActive
}

func inactive(s types.StatusType) (bool, error) {
	switch s {
	case types.StatusTypeActive:
		return false, nil
	case types.StatusTypeInactive:
		return true, nil
	}
	return false, validationError("1 validation error detected: Value '%s' at 'status' failed to satisfy constraint: Member must satisfy enum value set: [Active, Inactive]", s)
}

func pageTags(tags []tag, marker *string, size *int32) ([]tag, *string, error) {
	sorted := slices.SortedFunc(slices.Values(tags), func(x, y tag) int { return strings.Compare(x.Key, y.Key) })
	return page(sorted, marker, size, func(t tag) string { return t.Key })
}
