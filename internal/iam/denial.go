package iam

import (
	"encoding/base64"
	"encoding/json"
	"sort"
	"strings"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/policy"
)

// A denial's particulars (who, what, under which conditions, by an explicit
// deny or for want of an allow) go to the client sealed. AWS's own services
// whose APIs are here put no such text in their messages, so neither do these:
// it travels beside the message, where clients do not look, and
// sts:DecodeAuthorizationMessage opens it for whoever may call that. The
// particulars may disclose policies that the denied caller may not read.

// denialName is the place that a sealed denial is for.
const denialName = "sts/authorization-message"

// maxDenial bounds the encoded text; sts:DecodeAuthorizationMessage takes no
// more (STS API reference, EncodedMessage).
const maxDenial = 10_240

// denialKeys are the global condition keys that a denial tells.
var denialKeys = []string{"aws:principalaccount", "aws:principalarn", "aws:principaltype", "aws:requestedregion", "aws:resourceaccount",
	"aws:securetransport", "aws:sourceip", "aws:tokenissuetime", "aws:userid", "aws:username"}

// denialMessage is a decoded authorization message, in the form that AWS documents
// (STS API reference, DecodeAuthorizationMessage; the form itself is shown in
// the EC2 user guide).
type denialMessage struct {
	Allowed           bool           `json:"allowed"`
	ExplicitDeny      bool           `json:"explicitDeny"`
	MatchedStatements items[matched] `json:"matchedStatements"`
	Failures          items[matched] `json:"failures"`
	Context           denialContext  `json:"context"`
}

type items[T any] struct {
	Items []T `json:"items"`
}

type matched struct {
	StatementID string `json:"statementId"`
	Effect      string `json:"effect"`
	SourceType  string `json:"sourcePolicyType"`
}

type denialContext struct {
	Principal  denialPrincipal       `json:"principal"`
	Action     string                `json:"action"`
	Resource   string                `json:"resource"`
	Conditions items[denialKeyValue] `json:"conditions"`
}

type denialPrincipal struct {
	ID   string `json:"id"`
	ARN  string `json:"arn"`
	Name string `json:"name,omitempty"`
}

type denialKeyValue struct {
	Key    string             `json:"key"`
	Values items[denialValue] `json:"values"`
}

type denialValue struct {
	Value string `json:"value"`
}

// sealedDenial is what is sealed: the particulars and whose call it was.
type sealedDenial struct {
	Account string          `json:"a"`
	Message json.RawMessage `json:"m"`
}

// denial is the error of a permission that is not granted.
func (d *Directory) denial(c *call.Call, p *call.Permission, dec policy.Decision) error {
	message := dec.Message(c.Caller.ARN, p.Action, p.Resource)
	switch {
	case c.Caller.Type == aws.WebIdentityUser:
		// Strangers are not told why.
		message = "Not authorized to perform " + p.Action
	case strings.HasPrefix(p.Action, "s3:") && p.ResourceAccount != "" && p.ResourceAccount != c.Caller.AccountID:
		// S3 explains to callers of the bucket's account only (S3 user guide,
		// "Troubleshoot access denied (403 Forbidden) errors in Amazon S3").
		message = "Access Denied"
	}
	return &aws.Error{Op: "iam.Authorize", Kind: aws.Denied, Code: "AccessDenied", Message: message, Encoded: d.encodeDenial(c, p, dec)}
}

// encodeDenial seals a denial; "" for one that is too large to be decoded.
func (d *Directory) encodeDenial(c *call.Call, p *call.Permission, dec policy.Decision) string {
	out := denialMessage{ExplicitDeny: dec.Policy != nil, MatchedStatements: items[matched]{[]matched{}}, Failures: items[matched]{[]matched{}},
		Context: denialContext{Action: p.Action, Resource: p.Resource, Conditions: items[denialKeyValue]{[]denialKeyValue{}},
			Principal: denialPrincipal{ID: c.Caller.PrincipalID, ARN: c.Caller.ARN, Name: c.Caller.UserName}}}
	if dec.Policy != nil {
		out.MatchedStatements.Items = append(out.MatchedStatements.Items, matched{StatementID: dec.Sid(), Effect: "DENY", SourceType: dec.Reason.String()})
	}
	keys := append([]string(nil), denialKeys...)
	for k := range p.Context {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	ctx := requestContext{call: c, perm: p, now: d.now}
	for _, k := range keys {
		values, ok := ctx.Lookup(k)
		if !ok {
			continue
		}
		kv := denialKeyValue{Key: k, Values: items[denialValue]{[]denialValue{}}}
		for _, v := range values {
			kv.Values.Items = append(kv.Values.Items, denialValue{v})
		}
		out.Context.Conditions.Items = append(out.Context.Conditions.Items, kv)
	}
	message, err := json.Marshal(out)
	if err != nil {
		return "" // the denial itself must not fail for want of its explanation
	}
	plain, err := json.Marshal(sealedDenial{Account: c.AccountID, Message: message})
	if err != nil {
		return ""
	}
	text := base64.RawURLEncoding.EncodeToString(d.sealer.Seal(denialName, plain))
	if len(text) > maxDenial {
		return ""
	}
	return text
}

// DecodeDenial opens a denial that this server sealed for a call of the given
// account. ok is false for anything else.
func (d *Directory) DecodeDenial(account, encoded string) (message string, ok bool) {
	if len(encoded) > maxDenial {
		return "", false
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return "", false
	}
	plain, err := d.sealer.Open(denialName, sealed)
	if err != nil {
		return "", false
	}
	var s sealedDenial
	if err := json.Unmarshal(plain, &s); err != nil || s.Account != account {
		return "", false
	}
	return string(s.Message), true
}
