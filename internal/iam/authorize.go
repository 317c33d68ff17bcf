package iam

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/policy"
)

var _ call.Authorizer = (*Directory)(nil)

// Authorize decides on every permission that a call needs, by the policies as
// they are now: a prepared statement or a session made before a policy changed
// is judged by the changed one. The error names the first that is missing.
func (d *Directory) Authorize(_ context.Context, c *call.Call, perms []call.Permission) error {
	caller := c.Caller
	if c.ViaService == "" { // a service goes on with what it was given
		if err := d.stands(caller); err != nil {
			return err
		}
	}
	in, err := d.input(caller)
	if err != nil {
		return err
	}
	ctx := requestContext{call: c, now: d.now}
	req := policy.Request{Principal: principalOf(caller), Context: &ctx}
	for i := range perms {
		p := &perms[i]
		ctx.perm = p
		req.Action, req.Resource = p.Action, p.Resource
		in.ResourceAccount = p.ResourceAccount
		in.Resource = nil
		if p.ResourcePolicy != "" {
			if in.Resource, err = d.docs.get(p.ResourcePolicy, policy.Resource); err != nil {
				return fmt.Errorf("the policy of %s: %w", p.Resource, err)
			}
		}
		in.Trust = byTrust(p)
		if dec := policy.Evaluate(&req, &in); !dec.Allowed {
			return d.denial(c, p, dec)
		}
	}
	return nil
}

// byTrust reports whether the resource policy is a role's trust policy, without
// which nobody gets a session of the role. A federated user's session is tagged
// without one.
func byTrust(p *call.Permission) bool {
	switch p.Action {
	case "sts:AssumeRole", "sts:AssumeRoleWithWebIdentity":
		return true
	case "sts:TagSession", "sts:SetSourceIdentity":
		return p.ResourcePolicy != ""
	}
	return false
}

// input gathers the policies that apply to a caller wherever it goes.
func (d *Directory) input(c *aws.Caller) (policy.Input, error) {
	var in policy.Input
	if c.Session != nil && len(c.Session.Policies) > 0 {
		for _, text := range c.Session.Policies {
			p, err := d.docs.get(text, policy.Identity)
			if err != nil {
				return in, fmt.Errorf("a session policy: %w", err)
			}
			in.Session = append(in.Session, p)
		}
	} else if c.Type == aws.FederatedUser {
		in.Session = []*policy.Policy{} // a federated user without policies may do nothing
	}
	a := d.account(c.AccountID)
	if a == nil {
		return in, nil // anonymous callers and services have no policies
	}
	switch c.Type {
	case aws.IAMUser, aws.FederatedUser:
		if u := a.userByID(issuerID(c)); u != nil {
			in.Identity, in.Boundary = d.userPolicies(a, u), d.boundaryPolicy(a, u.Boundary)
		}
	case aws.AssumedRole:
		if r := a.roleByID(issuerID(c)); r != nil {
			in.Identity, in.Boundary = d.grantPolicies(a, &r.grants, nil), d.boundaryPolicy(a, r.Boundary)
		}
	}
	return in, nil
}

// issuerID is the id of the user or role whose policies count.
func issuerID(c *aws.Caller) string {
	if c.Session != nil {
		return c.Session.IssuerPrincipalID
	}
	return c.PrincipalID
}

func (d *Directory) grantPolicies(a *account, g *grants, dst []*policy.Policy) []*policy.Policy {
	dst = append(dst, g.compiled...)
	for _, arn := range g.Attached {
		if p := d.policy(a, arn); p != nil {
			dst = append(dst, p.compiled)
		}
	}
	return dst
}

func (d *Directory) userPolicies(a *account, u *user) []*policy.Policy {
	out := d.grantPolicies(a, &u.grants, nil)
	for _, id := range u.Groups {
		if g := a.groupByID(id); g != nil {
			out = d.grantPolicies(a, &g.grants, out)
		}
	}
	return out
}

// boundaryPolicy is the boundary's policy. A boundary whose policy is gone
// allows nothing.
func (d *Directory) boundaryPolicy(a *account, arn string) *policy.Policy {
	if arn == "" {
		return nil
	}
	if p := d.policy(a, arn); p != nil {
		return p.compiled
	}
	p, err := d.docs.get(grantsNothing, policy.Identity)
	if err != nil {
		panic(fmt.Sprintf("iam: the built-in policy does not parse: %v", err))
	}
	return p
}

func principalOf(c *aws.Caller) policy.Principal {
	p := policy.Principal{ARN: c.ARN, AccountID: c.AccountID}
	switch c.Type {
	case aws.Root:
		p.Root = true
	case aws.Anonymous, aws.Unknown:
		p.Anonymous = true
	case aws.AWSService:
		p.Service = c.InvokedBy
	case aws.WebIdentityUser:
		p.Federated = c.IdentityProvider
	case aws.AssumedRole, aws.FederatedUser:
		if c.Session != nil {
			p.RoleARN = c.Session.IssuerARN
		}
	}
	return p
}

// principalType is the value of aws:PrincipalType.
func principalType(t aws.IdentityType) string {
	switch t {
	case aws.Root:
		return "Account"
	case aws.IAMUser:
		return "User"
	case aws.AssumedRole:
		return "AssumedRole"
	case aws.FederatedUser:
		return "FederatedUser"
	case aws.Anonymous:
		return "Anonymous"
	}
	return ""
}

// requestContext gives the global condition keys (IAM user guide, "AWS global
// condition context keys") and the call's own, each only when it is asked for.
type requestContext struct {
	call *call.Call
	perm *call.Permission
	now  func() time.Time
}

// time is when the call is judged.
func (r *requestContext) time() time.Time {
	if !r.call.Judged.IsZero() {
		return r.call.Judged
	}
	return r.now()
}

var _ call.ContextKeys = (*Directory)(nil)

// ContextKeys gives the values that a call's evaluation had of some condition
// keys, by the names that it is asked for. Of a key with several values it is
// their list with commas.
func (d *Directory) ContextKeys(c *call.Call, p *call.Permission, keys []string) map[string]string {
	ctx := requestContext{call: c, perm: p, now: d.now}
	out := map[string]string{}
	for _, key := range keys {
		if v, ok := ctx.Lookup(strings.ToLower(key)); ok {
			out[key] = strings.Join(v, ",")
		}
	}
	return out
}

// via is the service that makes the call for the caller, or empty.
func (r *requestContext) via() string {
	if r.perm.Via != "" {
		return r.perm.Via
	}
	return r.call.ViaService
}

// Lookup returns a key's values; keys are lower-case.
func (r *requestContext) Lookup(key string) ([]string, bool) {
	if v, ok := r.perm.Context[key]; ok {
		return v, true
	}
	c := r.call.Caller
	one := func(s string) ([]string, bool) { return []string{s}, s != "" }
	yes := func(b bool) ([]string, bool) { return []string{strconv.FormatBool(b)}, true }
	switch key {
	case "aws:principalarn":
		if c.Type == aws.AssumedRole && c.Session != nil {
			return one(c.Session.IssuerARN)
		}
		return one(c.ARN)
	case "aws:principalaccount":
		return one(c.AccountID)
	case "aws:principaltype":
		return one(principalType(c.Type))
	case "aws:userid":
		return one(c.PrincipalID)
	case "aws:username":
		return one(c.UserName)
	case "aws:sourceip":
		return one(r.call.SourceIP)
	case "aws:useragent":
		return one(r.call.UserAgent)
	case "aws:requestedregion":
		return one(r.call.Region)
	case "aws:securetransport":
		return yes(r.call.TLS != nil)
	case "aws:currenttime":
		return one(r.time().UTC().Format(time.RFC3339))
	case "aws:epochtime":
		return one(strconv.FormatInt(r.time().Unix(), 10))
	case "aws:multifactorauthpresent":
		if c.Session == nil {
			return nil, false // long-term credentials do not have the key
		}
		return yes(c.MFA)
	case "aws:multifactorauthage":
		if c.Session == nil || !c.MFA {
			return nil, false
		}
		// The second factor was given when the session was made.
		return one(strconv.FormatInt(max(0, int64(r.time().Sub(c.Session.CreationDate)/time.Second)), 10))
	case "aws:tokenissuetime":
		if c.Session == nil {
			return nil, false
		}
		return one(c.Session.CreationDate.UTC().Format(time.RFC3339))
	case "aws:sourceidentity":
		if c.Session == nil {
			return nil, false
		}
		return one(c.Session.SourceIdentity)
	case "aws:viaawsservice":
		return yes(r.via() != "")
	case "aws:calledvia", "aws:calledviafirst", "aws:calledvialast":
		return one(r.via())
	case "aws:principalisawsservice":
		return yes(c.Type == aws.AWSService)
	case "aws:principalservicename":
		if c.Type != aws.AWSService {
			return nil, false
		}
		return one(c.InvokedBy)
	case "aws:resourceaccount":
		if r.perm.ResourceAccount != "" {
			return one(r.perm.ResourceAccount)
		}
		return one(r.call.AccountID)
	}
	if s := c.Session; s != nil {
		if key == "aws:federatedprovider" {
			return one(s.FederatedProvider)
		}
		if v, ok := s.Claims[key]; ok {
			return v, true
		}
	}
	if name, ok := strings.CutPrefix(key, "aws:principaltag/"); ok {
		for k, v := range c.Tags {
			if strings.EqualFold(k, name) {
				return []string{v}, true
			}
		}
	}
	return nil, false
}
