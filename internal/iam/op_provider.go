package iam

import (
	"net/url"
	"slices"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"spoor/internal/call"
)

// noThumbprint is what CreateOpenIDConnectProvider lacks.
const noThumbprint = "without a thumbprint AWS takes the one of the issuer's certificate authority; here the list stays empty"

// providerOperations keep OpenID Connect providers as resources.
func (s *api) providerOperations() []call.Operation {
	return []call.Operation{
		op("CreateOpenIDConnectProvider", func(c *call.Call, in *sdk.CreateOpenIDConnectProviderInput) target {
			return target{arn: accountARN(c, "oidc-provider/"+strings.TrimPrefix(str(in.Url), "https://"))}.requestTags(in.Tags)
		}, s.createProvider, call.Partial(noThumbprint)),
		op("GetOpenIDConnectProvider", func(c *call.Call, in *sdk.GetOpenIDConnectProviderInput) target {
			return s.onProvider(c, in.OpenIDConnectProviderArn)
		}, s.getProvider, call.ReadOnly),
		op("ListOpenIDConnectProviders", func(c *call.Call, _ *sdk.ListOpenIDConnectProvidersInput) target {
			return target{arn: accountARN(c, "oidc-provider/*")}
		}, s.listProviders, call.ReadOnly),
		op("DeleteOpenIDConnectProvider", func(c *call.Call, in *sdk.DeleteOpenIDConnectProviderInput) target {
			return s.onProvider(c, in.OpenIDConnectProviderArn)
		}, s.deleteProvider),
		op("UpdateOpenIDConnectProviderThumbprint", func(c *call.Call, in *sdk.UpdateOpenIDConnectProviderThumbprintInput) target {
			return s.onProvider(c, in.OpenIDConnectProviderArn)
		}, s.updateThumbprints),
		op("AddClientIDToOpenIDConnectProvider", func(c *call.Call, in *sdk.AddClientIDToOpenIDConnectProviderInput) target {
			return s.onProvider(c, in.OpenIDConnectProviderArn)
		}, s.addClientID),
		op("RemoveClientIDFromOpenIDConnectProvider", func(c *call.Call, in *sdk.RemoveClientIDFromOpenIDConnectProviderInput) target {
			return s.onProvider(c, in.OpenIDConnectProviderArn)
		}, s.removeClientID),
		op("TagOpenIDConnectProvider", func(c *call.Call, in *sdk.TagOpenIDConnectProviderInput) target {
			return s.onProvider(c, in.OpenIDConnectProviderArn).requestTags(in.Tags)
		}, s.tagProvider),
		op("UntagOpenIDConnectProvider", func(c *call.Call, in *sdk.UntagOpenIDConnectProviderInput) target {
			return s.onProvider(c, in.OpenIDConnectProviderArn).with("aws:TagKeys", in.TagKeys...)
		}, s.untagProvider),
		op("ListOpenIDConnectProviderTags", func(c *call.Call, in *sdk.ListOpenIDConnectProviderTagsInput) target {
			return s.onProvider(c, in.OpenIDConnectProviderArn)
		}, s.listProviderTags, call.ReadOnly),
	}
}

func (s *api) onProvider(c *call.Call, arn *string) target {
	t := target{arn: str(arn)}
	if a := s.d.account(c.AccountID); a != nil {
		if p := a.providers[t.arn]; p != nil {
			return t.resourceTags(p.Tags)
		}
	}
	return t
}

func findProvider(a *account, arn *string) (*oidcProvider, error) {
	if p := a.providers[str(arn)]; p != nil {
		return p, nil
	}
	return nil, noSuchEntity("OpenIDConnect Provider not found for arn %s", str(arn))
}

// provider finds a provider of the call's account for reading.
func (s *api) provider(c *call.Call, arn *string) (*oidcProvider, error) {
	a, err := s.account(c)
	if err != nil {
		return nil, err
	}
	return findProvider(a, arn)
}

// changeProvider runs fn on a copy of a provider and keeps it.
func (s *api) changeProvider(c *call.Call, arn *string, fn func(p *oidcProvider) error) error {
	ch, err := s.d.begin(c)
	if err != nil {
		return err
	}
	old, err := findProvider(ch.acc, arn)
	if err != nil {
		return err
	}
	p := old.copy()
	if err := fn(p); err != nil {
		return err
	}
	return ch.setProvider(old, p)
}

// issuerURL checks an issuer's URL and gives it without its scheme, as IAM
// names providers (IAM API, CreateOpenIDConnectProvider).
func issuerURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.Port() != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", validationError("Invalid Open ID Connect Provider URL")
	}
	return strings.TrimSuffix(u.Host+u.EscapedPath(), "/"), nil
}

func checkThumbprints(list []string) error {
	if len(list) > maxThumbprints {
		return invalidInput("Thumbprint list must contain fewer than %d entries.", maxThumbprints)
	}
	for _, t := range list {
		if len(t) != 40 || strings.Trim(t, "0123456789abcdefABCDEF") != "" {
			return invalidInput("Thumbprint %s is not 40 hexadecimal digits.", t)
		}
	}
	return nil
}

func (s *api) createProvider(c *call.Call, in *sdk.CreateOpenIDConnectProviderInput) (*sdk.CreateOpenIDConnectProviderOutput, error) {
	ch, err := s.d.begin(c)
	if err != nil {
		return nil, err
	}
	name, err := issuerURL(str(in.Url))
	if err != nil {
		return nil, err
	}
	p := &oidcProvider{ARN: ch.acc.arn("oidc-provider", "/", name), URL: name, Created: s.d.wholeSecond(), Thumbprints: in.ThumbprintList}
	if ch.acc.providers[p.ARN] != nil {
		return nil, alreadyExists("Provider with url %s already exists.", str(in.Url))
	}
	if err := quota(len(ch.acc.providers), maxProviders, "OpenIdConnectProvidersPerAccount"); err != nil {
		return nil, err
	}
	if err := checkThumbprints(p.Thumbprints); err != nil {
		return nil, err
	}
	for _, id := range in.ClientIDList {
		if !slices.Contains(p.ClientIDs, id) {
			p.ClientIDs = append(p.ClientIDs, id)
		}
	}
	if len(p.ClientIDs) > maxClientIDs {
		return nil, limitExceeded("ClientIdsPerOpenIdConnectProvider", maxClientIDs)
	}
	if p.Tags, err = setTags(nil, in.Tags); err != nil {
		return nil, err
	}
	return &sdk.CreateOpenIDConnectProviderOutput{OpenIDConnectProviderArn: new(p.ARN), Tags: tagsOf(p.Tags)}, ch.setProvider(nil, p)
}

func (s *api) getProvider(c *call.Call, in *sdk.GetOpenIDConnectProviderInput) (*sdk.GetOpenIDConnectProviderOutput, error) {
	p, err := s.provider(c, in.OpenIDConnectProviderArn)
	if err != nil {
		return nil, err
	}
	same := func(t string) string { return t }
	return &sdk.GetOpenIDConnectProviderOutput{Url: new(p.URL), CreateDate: new(p.Created), ClientIDList: convert(p.ClientIDs, same),
		ThumbprintList: convert(p.Thumbprints, same), Tags: tagList(p.Tags)}, nil
}

// listProviders gives all of them: this list has no pages.
func (s *api) listProviders(c *call.Call, _ *sdk.ListOpenIDConnectProvidersInput) (*sdk.ListOpenIDConnectProvidersOutput, error) {
	a, err := s.account(c)
	if err != nil {
		return nil, err
	}
	return &sdk.ListOpenIDConnectProvidersOutput{OpenIDConnectProviderList: convert(sortedKeys(a.providers), func(arn string) types.OpenIDConnectProviderListEntry {
		return types.OpenIDConnectProviderListEntry{Arn: new(arn)}
	})}, nil
}

// deleteProvider does not fail for a provider that is gone (IAM API,
// DeleteOpenIDConnectProvider).
func (s *api) deleteProvider(c *call.Call, in *sdk.DeleteOpenIDConnectProviderInput) (*sdk.DeleteOpenIDConnectProviderOutput, error) {
	ch, err := s.d.begin(c)
	if err != nil {
		return nil, err
	}
	p := ch.acc.providers[str(in.OpenIDConnectProviderArn)]
	if p == nil {
		return &sdk.DeleteOpenIDConnectProviderOutput{}, nil
	}
	return &sdk.DeleteOpenIDConnectProviderOutput{}, ch.setProvider(p, nil)
}

func (s *api) updateThumbprints(c *call.Call, in *sdk.UpdateOpenIDConnectProviderThumbprintInput) (*sdk.UpdateOpenIDConnectProviderThumbprintOutput, error) {
	err := s.changeProvider(c, in.OpenIDConnectProviderArn, func(p *oidcProvider) error {
		p.Thumbprints = in.ThumbprintList
		return checkThumbprints(p.Thumbprints)
	})
	return &sdk.UpdateOpenIDConnectProviderThumbprintOutput{}, err
}

// addClientID and removeClientID do not fail when there is nothing to do (IAM
// API, AddClientIDToOpenIDConnectProvider).
func (s *api) addClientID(c *call.Call, in *sdk.AddClientIDToOpenIDConnectProviderInput) (*sdk.AddClientIDToOpenIDConnectProviderOutput, error) {
	err := s.changeProvider(c, in.OpenIDConnectProviderArn, func(p *oidcProvider) error {
		if slices.Contains(p.ClientIDs, str(in.ClientID)) {
			return nil
		}
		if err := quota(len(p.ClientIDs), maxClientIDs, "ClientIdsPerOpenIdConnectProvider"); err != nil {
			return err
		}
		p.ClientIDs = append(p.ClientIDs, str(in.ClientID))
		return nil
	})
	return &sdk.AddClientIDToOpenIDConnectProviderOutput{}, err
}

func (s *api) removeClientID(c *call.Call, in *sdk.RemoveClientIDFromOpenIDConnectProviderInput) (*sdk.RemoveClientIDFromOpenIDConnectProviderOutput, error) {
	err := s.changeProvider(c, in.OpenIDConnectProviderArn, func(p *oidcProvider) error {
		p.ClientIDs = slices.DeleteFunc(p.ClientIDs, func(id string) bool { return id == str(in.ClientID) })
		return nil
	})
	return &sdk.RemoveClientIDFromOpenIDConnectProviderOutput{}, err
}

func (s *api) tagProvider(c *call.Call, in *sdk.TagOpenIDConnectProviderInput) (*sdk.TagOpenIDConnectProviderOutput, error) {
	err := s.changeProvider(c, in.OpenIDConnectProviderArn, func(p *oidcProvider) (err error) {
		p.Tags, err = setTags(p.Tags, in.Tags)
		return err
	})
	return &sdk.TagOpenIDConnectProviderOutput{}, err
}

func (s *api) untagProvider(c *call.Call, in *sdk.UntagOpenIDConnectProviderInput) (*sdk.UntagOpenIDConnectProviderOutput, error) {
	err := s.changeProvider(c, in.OpenIDConnectProviderArn, func(p *oidcProvider) error {
		p.Tags = dropTags(p.Tags, in.TagKeys)
		return nil
	})
	return &sdk.UntagOpenIDConnectProviderOutput{}, err
}

func (s *api) listProviderTags(c *call.Call, in *sdk.ListOpenIDConnectProviderTagsInput) (*sdk.ListOpenIDConnectProviderTagsOutput, error) {
	p, err := s.provider(c, in.OpenIDConnectProviderArn)
	if err != nil {
		return nil, err
	}
	part, next, err := pageTags(p.Tags, in.Marker, in.MaxItems)
	return &sdk.ListOpenIDConnectProviderTagsOutput{Tags: tagList(part), IsTruncated: next != nil, Marker: next}, err
}
