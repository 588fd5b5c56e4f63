package broker

import "github.com/hermodmq/hermod/broker/topic"

// topicRouter: the binding key is a pattern of words.
type topicRouter struct {
	trie topic.Trie[*binding]
}

// maxTopicHashes bounds the # words of one binding key: each beyond the first
// multiplies the work of a match by the length of the key.
const maxTopicHashes = 2

func (r *topicRouter) check(b *binding) error {
	if topic.Hashes(b.id.key) > maxTopicHashes {
		return errf(Precondition, "invalid binding key '%s' for %s: more than %d '#' wildcards",
			b.id.key, b.source.text(), maxTopicHashes)
	}
	return nil
}

func (r *topicRouter) byKey() bool       { return true }
func (r *topicRouter) add(b *binding)    { r.trie.Add(b.id.key, b) }
func (r *topicRouter) remove(b *binding) { r.trie.Remove(b.id.key, b) }

func (r *topicRouter) match(rt *routing, key string) {
	rt.bindings = r.trie.AppendMatches(rt.bindings[:0], key)
	for _, b := range rt.bindings {
		rt.take(b)
	}
}
