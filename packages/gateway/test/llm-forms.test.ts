import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type OpenAI from 'openai'
import { chunk, completion, lastText, manyModels, script } from './support/many-models.ts'
import { inSlices } from './support/models.ts'
import { json } from './support/service.ts'
import { word } from './support/world.ts'
import type { Json } from './support/world.ts'

const CARD = '4111 1111 1111 1111'
const IBAN = 'DE89370400440532013000'
const MAIL = 'bob@example.com'
const TEXT = `Card ${CARD}, account ${IBAN}, mail ${MAIL}.`
const FORMED =
  /^Card (4\d{3} \d{4} \d{4} \d{4}), account (DE(?:00|01|99)\d{18}), mail ([a-z]{3}@[a-z0-9]{5}\.invalid)\.$/

describe('stand-ins with the form of what they stand for', () => {
  const models = manyModels()
  const { first, second, clientOf, say } = models
  const formed = (): OpenAI => clientOf(models.teller, 'formed')
  /** What the vendor was told of the three. */
  const told = (): string[] => FORMED.exec(lastText(second.last))?.slice(1) ?? []
  const answer = (make: (text: string) => unknown): void => {
    second.answer = (asked, res) => {
      json(res, make(lastText(asked)))
    }
  }

  it('go to the vendor, and what they stand for comes back: the same in every call', async () => {
    answer((text) => completion(`You said: ${text}`))
    assert.equal(await say(TEXT, formed()), `You said: ${TEXT}`)
    const before = told()
    assert.equal(before.length, 3, second.last.text)
    for (const value of [CARD, IBAN, MAIL]) assert.ok(!second.last.text.includes(value))
    assert.equal(await say(TEXT, formed()), `You said: ${TEXT}`)
    assert.deepEqual(told(), before)
    const compact = CARD.replaceAll(' ', '')
    assert.equal(await say(`and ${compact}`, formed()), `You said: and ${compact}`)
    assert.ok(second.last.text.includes(before[0]?.replaceAll(' ', '') ?? '-'))
  })

  it('what the session read is a word, unless it is one of those as well', async () => {
    answer((text) => completion(`You said: ${text}`))
    const text = `ACC-00417 for ${MAIL}`
    assert.equal(await say(text, formed()), `You said: ${text}`)
    assert.match(lastText(second.last), /^RECORD_[0-9A-Z]{12} for [a-z]{3}@[a-z0-9]{5}\.invalid$/)
  })

  it('in streams cut anywhere, and in the arguments of tools', async () => {
    second.answer = (asked, res) => {
      void inSlices(res, script(`I say: ${lastText(asked)}`), 5)
    }
    let said = ''
    for await (const { choices } of await formed().chat.completions.create({
      model: 'small',
      messages: [{ role: 'user', content: TEXT }],
      stream: true,
    })) {
      said += choices[0]?.delta.content ?? ''
    }
    assert.equal(said, `I say: ${TEXT}`)

    second.answer = (asked, res) => {
      const written = JSON.stringify({ note: `é\n${lastText(asked)}`, card: 1 })
        .replace('é', '\\u00e9')
        // As a number, in no groups.
        .replace('"card":1', `"card":${told()[0]?.replaceAll(' ', '') ?? ''}`)
      const pieces = Array.from({ length: Math.ceil(written.length / 4) }, (_, i) =>
        chunk({
          tool_calls: [{ index: 0, function: { arguments: written.slice(4 * i, 4 * i + 4) } }],
        }),
      )
      void inSlices(res, `${pieces.join('')}${chunk({}, 'tool_calls')}data: [DONE]\n\n`, 7)
    }
    let written = ''
    for await (const { choices } of await formed().chat.completions.create({
      model: 'small',
      messages: [{ role: 'user', content: TEXT }],
      stream: true,
    })) {
      written += choices[0]?.delta.tool_calls?.[0]?.function?.arguments ?? ''
    }
    assert.ok(written.includes(`"card":${CARD.replaceAll(' ', '')}`), written)
    assert.equal((JSON.parse(written) as Json)['note'], `é\n${TEXT}`)
  })

  it('what a model calls a password or a key is not withheld from whom it belongs to', async () => {
    answer((text) => completion(`password: ${text}.`))
    assert.equal(await say(MAIL, formed()), `password: ${MAIL}.`)
  })

  it('one that is said again is nothing new', async () => {
    answer((text) => completion(text))
    await say(TEXT, formed())
    const text = lastText(second.last)
    assert.equal(await say(text, formed()), TEXT)
    assert.equal(lastText(second.last), text)
  })

  it('of one vendor are restored in no request, and in no answer of another or of another session', async () => {
    answer((text) => completion(text))
    await say(TEXT, formed())
    const standing = lastText(second.last)
    const [card = '', iban = ''] = told()
    // Another vendor reads neither, and says what it likes.
    first.answer = (_asked, res) => {
      json(res, completion(`${card} ${iban}`))
    }
    assert.equal(await say(standing), `${card} ${iban}`)
    for (const value of [CARD, IBAN, MAIL]) assert.ok(!first.last.text.includes(value))
    const other = clientOf(models.world.agent('teller', 'i3'), 'formed')
    answer(() => completion(`${card} ${iban}`))
    assert.equal(await say('what is it?', other), `${card} ${iban}`)
    assert.equal(await say(TEXT, other), `${card} ${iban}`)
    assert.notEqual(word(lastText(second.last)), standing)
    // Not told of it in this request: whoever says it says it by itself.
    assert.equal(await say('nothing', formed()), `${card} ${iban}`)
  })

  it('are none of those that stand in the request already', async () => {
    answer((text) => completion(text))
    const fresh = clientOf(models.world.agent('teller', 'i4'), 'formed')
    const card = '5500000000000004'
    await say(`pay ${card}`, fresh)
    const drawn = lastText(second.last).replace('pay ', '')
    // The same session key again, with that number in the request by itself: it is another instance's, and so is the key.
    const again = clientOf(models.world.agent('teller', 'i5'), 'formed')
    assert.equal(await say(`pay ${card} not ${drawn}`, again), `pay ${card} not ${drawn}`)
    assert.ok(lastText(second.last).endsWith(` not ${drawn}`))
  })
})
