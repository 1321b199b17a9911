// Sphinx's weights, except that pages written for readers come before the API's and the architecture's,
// which contain every word, and so does a guide before the questions about it
const LESS = [
  [/^api\/|^architecture$/, 20],
  [/^faq$/, 5],
];

var Scorer = {
  score: (result) => {
    const [page, , , , score] = result;
    const found = LESS.find(([pages]) => pages.test(page));
    return found ? score - found[1] : score;
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
