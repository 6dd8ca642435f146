/**
 * Runs in the browser. `textContent` alone, so that nothing of a request becomes markup, and letters that reorder or hide text
 * are spelled out. What is signed is compared with what is shown before a passkey is asked.
 */
export const CONSENT_SCRIPT: string = String.raw`'use strict'
try {
  // As chosen in the console, before anything is drawn.
  const theme = localStorage.getItem('sallyport:theme')
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme
} catch {}

addEventListener('DOMContentLoaded', () => {
  const by = (id) => document.getElementById(id)
  const { id, ticket } = by('consent').dataset
  const allow = by('allow')
  const refuse = by('refuse')
  let csrf = ''
  let shown

  async function call(path, body) {
    const answer = await fetch(path, {
      method: body === undefined ? 'GET' : 'POST',
      headers: body === undefined
        ? {}
        : { 'content-type': 'application/json', 'x-sallyport-csrf': csrf },
      body: body === undefined ? undefined : JSON.stringify(body),
    })
    const value = await answer.json()
    if (!answer.ok) {
      const fix = value.fix === undefined ? '' : ' ' + sentence(value.fix)
      throw new Error(sentence(value.title) + ' (' + value.code + ')' + fix)
    }
    return value
  }

  const sentence = (text) => {
    const first = text.charAt(0).toUpperCase() + text.slice(1)
    return /[.!?]$/.test(first) ? first : first + '.'
  }
  const visible = (text) =>
    String(text).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (c) =>
      '\\u{' + c.codePointAt(0).toString(16) + '}')
  // Descriptions are no part of what is signed: a long one is cut, and says so.
  const brief = (text) => {
    const letters = [...text]
    if (letters.length <= 300) return visible(text)
    return visible(letters.slice(0, 300).join('')) + '… (' + (letters.length - 300) + ' more letters)'
  }
  const put = (parent, tag, text, className) => {
    const element = document.createElement(tag)
    element.textContent = text
    if (className) element.className = className
    parent.append(element)
    return element
  }
  const fact = (name, ...parts) => {
    const row = document.createElement('div')
    put(row, 'dt', name)
    const value = put(row, 'dd', '')
    for (const [tag, text, className] of parts) put(value, tag, text, className)
    by('who').append(row)
  }

  // ISO 4217 (list one), where it is not two; a reading that may be wrong a hundredfold is worse than none.
  const DIGITS = {
    BIF: 0, CLP: 0, DJF: 0, GNF: 0, ISK: 0, JPY: 0, KMF: 0, KRW: 0, PYG: 0, RWF: 0, UGX: 0,
    UYI: 0, VND: 0, VUV: 0, XAF: 0, XOF: 0, XPF: 0,
    BHD: 3, IQD: 3, JOD: 3, KWD: 3, LYD: 3, OMR: 3, TND: 3, CLF: 4, UYW: 4,
  }
  const money = (amount, currency) => {
    const exact = amount.toLocaleString('en-GB') + ' minor units of ' + currency
    if (!Intl.supportedValuesOf('currency').includes(currency)) return exact
    const { maximumFractionDigits } = new Intl.NumberFormat('en-GB', { style: 'currency', currency })
      .resolvedOptions()
    const digits = DIGITS[currency] ?? 2
    if (maximumFractionDigits !== digits) return exact
    const padded = String(amount).padStart(digits + 1, '0')
    const whole = BigInt(padded.slice(0, padded.length - digits)).toLocaleString('en-GB')
    return whole + (digits === 0 ? '' : '.' + padded.slice(-digits)) + ' ' + currency + ' (' + exact + ')'
  }

  // RFC 8785, for what a statement holds: the bytes whose SHA-256 the passkey signs.
  const canonical = (value) => {
    if (Array.isArray(value)) return '[' + value.map(canonical).join(',') + ']'
    if (typeof value === 'object' && value !== null) {
      return '{' + Object.keys(value).sort()
        .map((key) => JSON.stringify(key) + ':' + canonical(value[key])).join(',') + '}'
    }
    return JSON.stringify(value)
  }
  const challengeOf = async (statement) => {
    const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(canonical(statement)))
    return btoa(String.fromCharCode(...new Uint8Array(digest)))
      .replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
  }

  const busy = (is) => {
    allow.disabled = refuse.disabled = is
  }
  const tell = (error) => {
    busy(false)
    by('error').textContent = error.name === 'NotAllowedError'
      ? 'The passkey was not used: the prompt was closed, timed out, or it did not verify you. Nothing was allowed.'
      : error.message
  }
  const onward = ({ redirect }) => {
    by('status').textContent = 'Going back to the program that asked…'
    location.assign(redirect)
  }

  function tick() {
    const left = Math.floor((shown.expiresAt - Date.now()) / 1000)
    if (left <= 0) {
      by('acts').hidden = true
      by('deadline').textContent = 'The time to decide is over: nothing was allowed. Start again in the program that asked.'
      return
    }
    by('deadline').textContent = 'You have ' + Math.floor(left / 60) + ' min ' +
      String(left % 60).padStart(2, '0') + ' s to decide.'
    setTimeout(tick, 1000)
  }

  async function show() {
    const session = await call('/api/session')
    csrf = session.csrf
    if (!session.operator) {
      by('status').textContent = 'Sign in to the console, then come back to this page.'
      by('sign-in').hidden = false
      addEventListener('focus', () => location.reload(), { once: true })
      return
    }
    by('status').textContent = 'You are signed in as ' + visible(session.operator.displayName) + '.'
    // Whoever cannot allow it can refuse it all the same.
    by('acts').hidden = false
    const view = await call('/api/consents/' + id + '/view', { ticket })
    const { statement } = view
    // The whole name stands below.
    const letters = [...view.agent]
    const name = letters.length <= 60 ? view.agent : letters.slice(0, 60).join('') + '…'
    by('title').textContent = 'May ' + visible(name) + ' act for you?'
    document.title = by('title').textContent + ' · Sallyport'
    fact('Agent', ['b', visible(view.agent)], ['span', brief(view.agentDescription), 'note'])
    fact('Instance', ['span', visible(statement.client), 'mono'])
    fact('At', ['b', visible(view.system)], ['span', brief(view.systemDescription), 'note'])
    for (const one of view.operations) {
      const item = put(by('what'), 'li', '')
      put(item, 'b', visible(one.name))
      if (one.kind === 'write') put(item, 'span', 'changes things', 'kind writes')
      if (one.kind === 'read') put(item, 'span', 'reads', 'kind')
      put(item, 'span', brief(one.description), 'note')
    }
    for (const one of statement.details) {
      const item = put(by('pay'), 'li', '')
      put(item, 'b', money(one.amount, visible(one.currency)) + ' at most in one call')
      put(item, 'span', 'to ' + visible(one.creditor), 'mono note')
      put(item, 'span', 'by ' + one.operations.map(visible).join(', '), 'note')
    }
    by('payments').hidden = statement.details.length === 0
    if (statement.refreshSeconds > 0) {
      by('lasts').textContent = 'Up to ' + statement.refreshSeconds / 3600 + ' hours, without asking you again, for this ' +
        'instance of it, and for agents that it names to do a part of it. It ends when you sign out of this session of the console, or when the agent is cut off.'
    }
    by('back').textContent = visible(new URL(statement.redirectUri).host)
    shown = statement
    by('request').hidden = allow.hidden = false
    tick()
  }

  allow.addEventListener('click', () => {
    busy(true)
    by('error').textContent = ''
    sign().catch(tell)
  })
  refuse.addEventListener('click', () => {
    busy(true)
    call('/api/consents/' + id + '/refuse', { ticket }).then(onward).catch(tell)
  })

  async function sign() {
    const { statement, options } = await call('/api/consents/' + id + '/options', { ticket })
    if (canonical(statement) !== canonical(shown) || options.challenge !== (await challengeOf(shown))) {
      throw new Error('The server asked for a signature over something else than this page shows. Nothing was signed.')
    }
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON({
      ...options,
      userVerification: 'required',
    })
    const credential = await navigator.credentials.get({ publicKey })
    onward(await call('/api/consents/' + id + '/allow', {
      ticket,
      statement,
      response: credential.toJSON(),
    }))
  }

  show().catch(tell)
})
`
