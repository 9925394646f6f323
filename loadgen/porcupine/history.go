package main

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"slices"

	"github.com/anishathalye/porcupine"
)

const (
	format   = 1
	stranger = "somebody else"
)

// A note is a line of a client's journal: what is asked, what is told, the end that was seen, or which shop it is.
type note struct {
	Client *int            `json:"client"`
	Shop   json.RawMessage `json:"shop"`
	N      int             `json:"n"`
	T      float64         `json:"t"`
	Key    *string         `json:"key"`
	Asks   *body           `json:"asks"`
	Status *int            `json:"status"`
	Answer json.RawMessage `json:"answer"`
	Ended  string          `json:"ended"`
	Closed bool            `json:"closed"`
	Lines  int             `json:"lines"`
	end
}

// An end is what a journal or an answer says of how a purchase stands.
type end struct {
	Estado string `json:"estado"`
	Motivo string `json:"motivo"`
}

// A body is what was asked for. The same key with another body buys nothing.
type body struct {
	Usuario int64  `json:"usuarioId"`
	Token   int64  `json:"tokenId"`
	Precio  *int64 `json:"precioMaximo"`
}

// One key of one buyer. answer is the best that is known of a body: 0 nothing, 1 never accepted, 2 accepted.
type history struct {
	requests map[string]*request
	told     []string
	at       int64
}

type request struct {
	token  int64
	call   int64
	answer int
}

// Histories of all keys, by the purchase's id, from any number of journals of one shop.
type histories struct {
	of     map[string]*history
	shop   []byte
	partly []unreadable
}

// unreadable says which journal cannot be read, where, and why: "missing", "line", "format" or "shop". "ends early": what
// stands there was read, but its client wrote more, or died, so that it may have asked for more.
type unreadable struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Why  string `json:"why"`
}

// read adds a client's journal.
func (all *histories) read(name string) *unreadable {
	file, err := os.Open(name)
	if err != nil {
		return &unreadable{name, 0, "missing"}
	}
	defer file.Close()
	asked := map[int]*request{}
	ids := map[int]string{}
	lines := bufio.NewReader(file)
	whole := false
	for number := 1; ; number++ {
		raw, err := lines.ReadBytes('\n')
		if err != nil {
			if err != io.EOF {
				return &unreadable{name, number, "line"}
			}
			// A last line without its end was being written when the client died.
			if !whole || len(raw) > 0 {
				all.partly = append(all.partly, unreadable{name, number, "ends early"})
			}
			return nil
		}
		var line note
		if json.Unmarshal(raw, &line) != nil || (line.Asks != nil && line.Key == nil) {
			return &unreadable{name, number, "line"}
		}
		whole = line.Closed && line.Lines == number-1
		switch at := int64(line.T * 1e9); {
		case line.Client != nil && *line.Client != format:
			return &unreadable{name, number, "format"}
		case line.Shop != nil && all.shop != nil && !bytes.Equal(line.Shop, all.shop):
			return &unreadable{name, number, "shop"}
		case line.Shop != nil:
			all.shop = line.Shop
		case line.Asks != nil:
			ids[line.N] = purchaseID(line.Asks.Usuario, *line.Key)
			asked[line.N] = all.key(ids[line.N]).asks(*line.Asks, at)
		case line.Ended != "":
			all.key(line.Ended).ends(line.end, at)
		case asked[line.N] != nil && line.Status != nil:
			asked[line.N].answered(*line.Status)
			var told end
			// An answer that is none of the shop's says nothing here: the audit says that it is strange.
			if *line.Status < 300 && json.Unmarshal(line.Answer, &told) == nil {
				all.key(ids[line.N]).ends(told, at)
			}
		}
	}
}

func (all *histories) key(id string) *history {
	if all.of[id] == nil {
		all.of[id] = &history{requests: map[string]*request{}}
	}
	return all.of[id]
}

func (one *history) asks(what body, at int64) *request {
	raw, _ := json.Marshal(what)
	found := one.requests[string(raw)]
	if found == nil {
		found = &request{token: what.Token, call: at}
		one.requests[string(raw)] = found
	}
	found.call = min(found.call, at)
	return found
}

// answered: 2xx is a purchase; 4xx is none, now and whenever this body is sent again; 5xx says nothing.
func (one *request) answered(status int) {
	if status < 300 {
		one.answer = 2
	} else if status >= 400 && status < 500 {
		one.answer = max(one.answer, 1)
	}
}

func (one *history) ends(how end, at int64) {
	told := how.Estado
	switch {
	case told == "rechazada" && how.Motivo != "":
		told = how.Motivo
	case told != "rechazada" && told != sold:
		return
	}
	if len(one.told) == 0 || at < one.at {
		one.at = at
	}
	if !slices.Contains(one.told, told) {
		one.told = append(one.told, told)
	}
}

// bought are the bodies of this key of which a purchase was made, or may have been: one, but where no answer came.
func (one *history) bought() []*request {
	var known, possible []*request
	for _, body := range one.requests {
		switch body.answer {
		case 2:
			known = append(known, body)
		case 0:
			possible = append(possible, body)
		}
	}
	if known != nil {
		return known
	}
	return possible
}

// backwards are the purchases that were told their end before anybody asked for them: no order is to be sought for those.
func (all *histories) backwards() []string {
	found := []string{}
	for id, key := range all.of {
		for _, body := range key.bought() {
			if len(key.told) > 0 && key.at < body.call && !slices.Contains(found, id) {
				found = append(found, id)
			}
		}
	}
	slices.Sort(found)
	return found
}

// operations of each token. alone: nobody asked for these tokens but the clients whose journals were read. Otherwise a
// stranger may have bought any of them, before, meanwhile or never.
func (all *histories) operations(alone bool) map[int64][]porcupine.Operation {
	found := map[int64][]porcupine.Operation{}
	for id, key := range all.of {
		bodies := key.bought()
		for _, body := range bodies {
			told, at := unseen, int64(math.MaxInt64)
			if len(key.told) > 0 && len(bodies) == 1 {
				told, at = key.told[0], max(key.at, body.call)
			}
			found[body.token] = append(found[body.token], operation(id, body.call, told, at))
		}
	}
	for token := range found {
		if !alone || len(all.partly) > 0 {
			found[token] = append(found[token], operation(stranger, math.MinInt64, unseen, math.MaxInt64))
		}
	}
	return found
}

func operation(id string, call int64, told string, at int64) porcupine.Operation {
	return porcupine.Operation{Input: purchase{id, anywhere}, Call: call, Output: told, Return: at}
}

// namespace is uuid5(NAMESPACE_URL, "urn:zoco:compra").
var namespace = uuid5([]byte("\x6b\xa7\xb8\x11\x9d\xad\x11\xd1\x80\xb4\x00\xc0\x4f\xd4\x30\xc8"), "urn:zoco:compra")

func purchaseID(usuario int64, key string) string {
	text := hex.EncodeToString(uuid5(namespace, fmt.Sprintf("%d:%s", usuario, key)))
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}

func uuid5(space []byte, name string) []byte {
	sum := sha1.Sum(append(slices.Clone(space), name...))
	sum[6] = sum[6]&0x0f | 0x50
	sum[8] = sum[8]&0x3f | 0x80
	return sum[:16]
}
