package cloudtrail

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"

	"spoor/internal/call"
)

// defaultSamples is how many results a page has when the call does not say
// (CloudTrail API reference, "SearchSampleQueries").
const defaultSamples = 10

// Sample queries are found by the words that a phrase shares with them: names,
// descriptions and SQL are vectors of their words, a word the heavier the fewer
// samples have it and the nearer it is to the name; relevance is the cosine of
// the angle between phrase and sample (the vector space model).
const (
	nameWeight        = 3.0
	descriptionWeight = 2.0
	sqlWeight         = 0.5
)

// vector is a text's words with their weights.
type vector map[string]float64

func (v vector) length() float64 {
	sum := 0.0
	for _, x := range v {
		sum += x * x
	}
	return math.Sqrt(sum)
}

// sampleIndex are the samples as vectors.
type sampleIndex struct {
	vectors []vector
	lengths []float64
	idf     map[string]float64
}

func newSampleIndex(list []sample) *sampleIndex {
	x := &sampleIndex{idf: map[string]float64{}}
	for _, s := range list {
		v := vector{}
		for _, part := range []struct {
			text   string
			weight float64
		}{{s.name, nameWeight}, {s.description, descriptionWeight}, {s.sql, sqlWeight}} {
			for _, w := range words(part.text) {
				v[w] = max(v[w], part.weight)
			}
		}
		for w := range v {
			x.idf[w]++
		}
		x.vectors = append(x.vectors, v)
	}
	for w, n := range x.idf {
		x.idf[w] = math.Log(1 + float64(len(list))/n)
	}
	for _, v := range x.vectors {
		for w := range v {
			v[w] *= x.idf[w]
		}
		x.lengths = append(x.lengths, v.length())
	}
	return x
}

// relevance is how near a phrase is to the i-th sample, from 0 to 1.
func (x *sampleIndex) relevance(phrase vector, i int) float64 {
	dot := 0.0
	for w, a := range phrase {
		dot += a * x.vectors[i][w]
	}
	if dot == 0 {
		return 0
	}
	return min(1, dot/(phrase.length()*x.lengths[i]))
}

// query is a phrase as a vector. A word that no sample has still counts in its
// length: the phrase asks for more than is there.
func (x *sampleIndex) query(phrase string) vector {
	v := vector{}
	for _, w := range words(phrase) {
		v[w] = 1
		if idf, ok := x.idf[w]; ok {
			v[w] = idf
		}
	}
	return v
}

// stopWords say nothing of what is searched.
var stopWords = func() map[string]bool {
	out := map[string]bool{}
	for _, w := range strings.Fields("a an the and or of in on at to for from by with is are was were be been it its that this these those which who what when where how " +
		"me my show list find get give i you all any each every do does did made has have had last than not as into so such up query queries select event events") {
		out[stem(w)] = true
	}
	return out
}()

// words are a text's words in lower case without their endings. Names such as
// CreateBucket are the words that they are made of as well.
func words(text string) []string {
	var out []string
	add := func(w string) {
		if w = stem(strings.ToLower(w)); len(w) > 1 && !stopWords[w] && !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	for _, whole := range strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		add(whole)
		begin := 0
		runes := []rune(whole)
		for i := 1; i < len(runes); i++ {
			if unicode.IsUpper(runes[i]) && unicode.IsLower(runes[i-1]) {
				add(string(runes[begin:i]))
				begin = i
			}
		}
		if begin > 0 {
			add(string(runes[begin:]))
		}
	}
	return out
}

// stem cuts the endings of English inflection.
func stem(w string) string {
	for _, e := range []struct{ end, put string }{
		{"ies", "y"}, {"sses", "ss"}, {"ations", "at"}, {"ation", "at"}, {"ings", ""}, {"ing", ""}, {"ed", ""}, {"es", ""}, {"s", ""},
	} {
		if root, ok := strings.CutSuffix(w, e.end); ok && len(root) >= 3 && !(e.end == "s" && strings.HasSuffix(root, "s")) {
			w = root + e.put
			break
		}
	}
	return strings.TrimSuffix(w, "e")
}

var sampleSearch = newSampleIndex(samples)

func (s *api) searchSamples(_ *call.Call, in *sdk.SearchSampleQueriesInput) (*sdk.SearchSampleQueriesOutput, error) {
	phrase := str(in.SearchPhrase)
	vector := sampleSearch.query(phrase)
	type hit struct {
		i         int
		relevance float64
	}
	var hits []hit
	for i := range samples {
		if r := sampleSearch.relevance(vector, i); r > 0 {
			hits = append(hits, hit{i, r})
		}
	}
	key := func(h *hit) string { return fmt.Sprintf("%.9f %03d", 1-h.relevance, h.i) }
	slices.SortFunc(hits, func(a, b hit) int { return strings.Compare(key(&a), key(&b)) })
	limit := in.MaxResults
	if limit == nil {
		limit = new(int32(defaultSamples))
	}
	hits, next, err := page(hits, key, "SearchSampleQueries "+phrase, str(in.NextToken), limit, maxListed)
	if err != nil {
		return nil, invalid("InvalidParameterException", "The NextToken is not valid, or the parameters differ from those of the request that it came from.")
	}
	out := &sdk.SearchSampleQueriesOutput{SearchResults: []types.SearchSampleQueriesSearchResult{}, NextToken: next}
	for _, h := range hits {
		x := &samples[h.i]
		out.SearchResults = append(out.SearchResults, types.SearchSampleQueriesSearchResult{Name: &x.name, Description: &x.description, SQL: &x.sql, Relevance: float32(h.relevance)})
	}
	return out, nil
}
