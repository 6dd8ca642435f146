import { DIGIT, LOWER, UPPER } from '../characters.ts'
import type { GrowingText } from '../growing.ts'
import type { Stretch } from './analyse.ts'
import { isEnglishMonth } from './months.ts'
import type { Span } from './recogniser.ts'

/**
 * Words that are written with a capital for where they stand, or that name nobody: not by themselves the name of a person, a
 * place or a firm.
 */
const ORDINARY = new Set(
  `a about above according accounts after again all also although am an and another any anyone anything are as ask at be because
been before being below best between bot both but by call can cancel card change check client clients come company could
customer customers date dear describe did do does don done during each either email enter error even every everyone example
failed fast few fill find first for found from full further get give given go good got great had has have having he hello help
hence her here hers hey hi his how however i if in indeed info instead into is it its just keep kind last late later learn
least leave less let like list listen load log look made mail make many may maybe me might mine more most much must my name
near need never new next no none nor not note nothing now of off offer ok okay old on once one only open or order other our
ours out over own pay payment perhaps phone please policy quick quite rather read really reply request result right said same
save say see seems send sent set several shall she should show simply since so some someone something sorry soon still stop
submit subject such sure system take tell than thank thanks that the their them then there therefore these they thing this
those though through thus time to today together tomorrow tonight too total transfer try turn two under unless unlike until up
update upon us use used user using very via wait want was watch we welcome well were what whatever when whenever where whether
which while who whom whose why will with within without would write yes yesterday yet you your yours agent assistant question
answer hmm oh wow yeah nope regards sincerely cheers best dearest attention warning notice important urgent summary details
status type number id address city state country zip account balance amount currency transaction transactions total bank
january february march april may june july august september october november december monday tuesday wednesday thursday friday
saturday sunday jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri sat sun am pm
json xml html http https api sql url uri uuid csv pdf sdk cpu gpu ram utc gmt iso ascii utf true false null none todo fixme
action active adult adventure afternoon age animal animation annual army art article artist association author award baby back bad
ball band base bed bell big bird black blood blue board body book border boss box boy brand bridge brother brown budget building
business button camera camp candidate capital captain carry cat cause cautionary center central century ceo ceos chair chairman
chance chief child children chocolate christmas church circle class classic clean clear clinic clock close cloud club coach coast
coffee cold college color comedy comment committee common community complete computer concert conference contract control cook
copy corner corporate council court cousin cover crazy credit crew crime crop cross crown culture daily dance danger dark data
daughter dead deal death debit deep defense delivery demand department design desk devil dimension dimensions dinner director
discipline discount doctor dog dollar door double draft dragon drama dream dress drink drive driver due duty early earth east
eastern easter economy edition editor education eight election electric else emergency employee end energy engine engineer
english entertainment evening event evil exchange executive express eye face fact fair faith fall false fame family fantasy
farm fashion father favorite feature federal field fight file film final finance fine fire fish five flight floor flower fly
food foot football force foreign forest forever form forum four free freedom fresh friend front fun fund future gallery game
garden gas gate general gentleman ghost gift girl glass global god gold golden government grand grant gray great green ground
group guard guest guide guilty gun guy hair half hall hand happy hard hate head health hear heart heat heaven heavy hell hero
high hill history hit hobbits hold hole holiday holy home honor hope horror horse hospital hot hotel hour house huge human
hundred husband ice idea image independent index indie industry inject inside insight insights instant insurance interest
interesting international internet interview iron island issue jazz job join joint judge jump junior jury justice key kid kids
kill killed killer kind king kiss kitchen knight knock labor ladies land language large laser laugh law lead leader league left
legal lesson letter level liberty library life light line lion literature little live living loan local lock long lord lost lot
loud love low luck lunch machine magazine magic main major man manager map market marriage master match material matter medal
media medical meet member memory men message metal middle midnight military million mind minister minute mirror mission model
modern moment money monster month monthly moon moral morning mother mountain mouth move movie murder museum music musical
musician musicians mystery nation national natural nature navy neck network news night nine noise noon normal north northern
novel number nurse object ocean office officer official oil online opera operation opinion orange orchestra organization
original outside owner package page paid pain paint pair palace paper paradise parent park part partner party pass passion past
path peace peak pedestrians pen people perfect performance period person personal phase photo piano picture piece pink place
plain plan planet plant play player pleasure pleasures plus poem poet point police political poor pop popular position post
power powerful practice premier present president press price pride prime prince princess prison private prize problem process
producer product professional professor program project property proud public pure purple queen question race radio rain ready
real reason record records red regional register remember report republic research reserve rest restaurant return revenue rich
ride ring rise risk river road rock role roll romance room rose round royal rule run running sad safe sale sales salesperson
salt sand save school science scientist score sea season second secret secretary secretly section security self senior sense
series serious service session seven sex shadow shape share shark shine ship shock shoe shop short shot side sign signal silver
sing singer single sister site six size skin sky sleep slow small smart smile smoke snake snow social society soft soldier
solution son song soul sound south southern space speak special speed spirit sport spring staff stage stand standard star start
state statement station steel step stone store storm story strange stranger stream street strength strike stripes strong
student studio study style success sugar suite summer sunday sunset super supposed support surprise suspense sweet table tale
tales talk tall target task taste tax teacher team tech technology teenager television ten term test text theater theory third
thousand three thriller ticket tiger title top tour tower town trade traditional traffic train training travel treasure treaty
tree trial trip trouble truck true trust truth tube tv type ultimate uncle union unique unit united universe university upper
users vacation valley value version victory video view village violence vision visit voice volume vote walk wall war warm
warrior water wave way weak wealth weapon wear weather web website wedding week weekend weekly weird west western wheel white
whole wide wife wild wind window wine winner winter wisdom wish witch wolf woman wonder wood word work worker working world
worst wrong written yard year yellow young youth zero zone
iban bic swift ssn vat tin pin cvv atm kyc aml sar gdpr pci dss usd eur gbp chf jpy sek nok dkk`
    .split(/\s+/)
    .filter((word) => word !== ''),
)
const TITLES = new Set(
  'mr mrs ms miss dr prof sir dame lord lady mx herr frau mme mlle señor señora signor signora'.split(
    ' ',
  ),
)
/** Between two parts of one name. */
const JOINTS = new Set(
  'de del della di da do dos du von van der den la le el al bin ibn ter ten zu'.split(' '),
)

const APOSTROPHE = /['\u2019]/
const CONTRACTION = /['\u2019](?:s|m|d|t|ll|re|ve)$/

/** What a word is taken for. */
const NAME = 0
const TITLE = 1
/** One capital, or an abbreviation. */
const INITIAL = 2
const NUMBER = 3
const ORDINARY_WORD = 4
const OTHER = 5
/** `running`: no name where a sentence begins. */
const UNLESS_FIRST = 6
/** A small word that may stand between two parts of a name. */
const SHORT = 7

/** Words of one stretch, one after another; used again for the next. */
class Words {
  count = 0
  readonly start = new Int32Array(MAX_WORDS)
  /** Without the punctuation after it. */
  readonly end = new Int32Array(MAX_WORDS)
  readonly make = new Uint8Array(MAX_WORDS)
  /** Something after it ends a phrase. */
  readonly last = new Uint8Array(MAX_WORDS)
  /** It holds a letter beyond ASCII. */
  readonly foreign = new Uint8Array(MAX_WORDS)
  /** Whether any has a capital and begins as a month does. */
  months = false
}
/** A stretch is no longer than that. */
const MAX_WORDS = 4096
const words = new Words()

/**
 * Names of people, places and firms by how they are written: words with a capital that are no ordinary words, joined where one
 * name has several, with the numbers of an address. It knows no names, and so redacts many that are nobody's business: an aid
 * where nothing is known of what a text may hold, not what a bank should rely on.
 *
 * @returns whether a word with a capital begins as a month does
 */
export function names(
  { growing, from, start: begin, end: limit }: Stretch,
  spans: Span[],
): boolean {
  const { codes, text } = growing
  // A capital at the beginning of a sentence says nothing.
  const initial = begins(codes, from, begin)
  readWords(growing, begin, limit, initial)
  const { count } = words
  for (let i = 0; i < count; i++) {
    const make = words.make[i] ?? OTHER
    if (make !== NAME && make !== TITLE) continue
    let start = words.start[i] ?? 0
    // House numbers come before their street in some countries.
    if (i > 0 && words.make[i - 1] === NUMBER && words.last[i - 1] === 0)
      start = words.start[i - 1] ?? 0
    let end = (words.end[i] ?? 0) - possessive(codes, words.end[i] ?? 0)
    let named = make === NAME
    let last = i
    for (let j = i + 1; j < count && words.last[j - 1] === 0; j++) {
      const next = words.make[j] ?? OTHER
      if (next === OTHER) break
      // After a title any word is a name.
      if (next === ORDINARY_WORD && (make !== TITLE || j > i + 1)) break
      if (next === SHORT) {
        if (JOINTS.has(text.slice(words.start[j], words.end[j]))) continue
        break
      }
      end = (words.end[j] ?? 0) - possessive(codes, words.end[j] ?? 0)
      named ||= next === NAME || next === ORDINARY_WORD
      last = j
    }
    // Two words with one, or a foreign letter, do say something.
    const lone = last === i && i === 0 && initial && words.foreign[i] === 0
    if (named && !lone) spans.push({ start, end, kind: 'NAME' })
    i = last
  }
  return words.months
}

/** How much of a word `'s` is. */
function possessive(codes: Uint16Array, end: number): number {
  const mark = codes[end - 2]
  return codes[end - 1] === 0x73 && (mark === 0x27 || mark === 0x2019) ? 2 : 0
}

const BETWEEN = new Set(Array.from(' "\'`(*_-\u201c\u201e\u00ab', (c) => c.charCodeAt(0)))
const BEFORE = new Set(Array.from('.!?:\n\r\t>', (c) => c.charCodeAt(0)))

/** Whether a sentence begins there, as far as what came before it tells. */
function begins(codes: Uint16Array, from: number, at: number): boolean {
  let i = at - 1
  while (i >= from && BETWEEN.has(codes[i] ?? 0)) i--
  return i < from || BEFORE.has(codes[i] ?? 0)
}

function readWords(growing: GrowingText, from: number, limit: number, atBeginning: boolean): void {
  const { codes, kinds } = growing
  let i = from
  let count = 0
  words.months = false
  for (;;) {
    while (i < limit && ((kinds[i] ?? 0) & WORD) === 0) i++
    if (i >= limit) break
    const start = i
    let found = 0
    let all = 0
    let hash = 0
    for (; i < limit; i++) {
      const one = (kinds[i] ?? 0) & WORD
      const c = codes[i] ?? 0
      // `O'Brien`, `Weeks-Rivas`, `J.P.`
      if (one === 0) {
        if (c !== 0x27 && c !== 0x2d && c !== 0x2019 && c !== 0x26) break
        if (((kinds[i - 1] ?? 0) & WORD) === 0) break
        if (i + 1 >= limit || ((kinds[i + 1] ?? 0) & WORD) === 0) break
      }
      found |= one
      all |= c
      hash = Math.imul(hash ^ c, 0x9e3779b1)
    }
    const next = i < limit ? (codes[i] ?? 0) : 0x20
    words.start[count] = start
    words.end[count] = i
    // A dot after a title, an initial or an abbreviation ends nothing.
    words.last[count] = next !== 0x20 && next !== 0xa0 && !(next === 0x2e && i - start <= 4) ? 1 : 0
    words.foreign[count] = all > 0x7f ? 1 : 0
    const capital = ((kinds[start] ?? 0) & UPPER) !== 0
    if (capital && isEnglishMonth(codes, start)) words.months = true
    let make = capital
      ? makeOf(growing, start, i, found, hash)
      : (found & (UPPER | LOWER)) === 0
        ? NUMBER
        : (found & DIGIT) !== 0
          ? i - start <= 6
            ? NUMBER
            : OTHER
          : i - start <= 3
            ? SHORT
            : OTHER
    if (make === UNLESS_FIRST) make = atBeginning && count === 0 ? OTHER : NAME
    words.make[count] = make
    count++
  }
  words.count = count
}

const WORD = DIGIT | UPPER | LOWER
/** What was asked before, one word in a place: the same words come again and again. */
const PLACES = 8192
/** Longer ones are judged each time. */
const MAX_KEPT = 16
const keptHash = new Int32Array(PLACES)
const keptLength = new Uint8Array(PLACES)
const keptMake = new Uint8Array(PLACES)
const keptCodes = new Uint16Array(PLACES * MAX_KEPT)

/** @param hash of the word's code units */
function makeOf(
  { codes, text }: GrowingText,
  start: number,
  end: number,
  found: number,
  hash: number,
): number {
  const length = end - start
  if (length > MAX_KEPT) return judge(text.slice(start, end), found)
  const place = (hash ^ (hash >>> 16)) & (PLACES - 1)
  const first = place * MAX_KEPT
  if (keptHash[place] === hash && keptLength[place] === length) {
    let i = 0
    while (i < length && keptCodes[first + i] === codes[start + i]) i++
    if (i === length) return keptMake[place] ?? OTHER
  }
  const make = judge(text.slice(start, end), found)
  keptHash[place] = hash
  keptLength[place] = length
  keptMake[place] = make
  for (let i = 0; i < length; i++) keptCodes[first + i] = codes[start + i] ?? 0
  return make
}

function judge(word: string, found: number): number {
  const lower = word.toLowerCase()
  if (TITLES.has(lower)) return TITLE
  const stem = APOSTROPHE.test(lower) ? lower.replace(CONTRACTION, '') : lower
  if (ORDINARY.has(stem)) return ORDINARY_WORD
  const shouted = (found & LOWER) === 0
  if (word.length === 1) return INITIAL
  // An abbreviation is rarely a name; a short one by itself never.
  if (shouted && word.length <= 4) return INITIAL
  return /(?:ing|ly|ed|tion|ment|ness|able)$/.test(lower) && !shouted ? UNLESS_FIRST : NAME
}
