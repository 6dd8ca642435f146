// Nanonets as its documentation calls it, with nothing but `fetch`. `NANONETS_URL` is all that is known here of the gateway, which has the key.
const { NANONETS_URL } = process.env
const model = `${NANONETS_URL}/api/v2/OCR/Model/6ad50c1f-5f0c-4f2b-9a55-d3b7b1a2c301`
// The key is the user name, and there is no password.
const authorization = `Basic ${Buffer.from('sallyport:').toString('base64')}`

async function ask(path, body) {
  const answer = await fetch(`${model}/${path}`, {
    method: 'POST',
    headers: { authorization },
    body,
  })
  const { result, code } = await answer.json()
  if (!answer.ok) return { refused: code, status: answer.status }
  return Object.fromEntries(result[0].prediction.map(({ label, ocr_text }) => [label, ocr_text]))
}

const file = (content, name, type) => {
  const form = new FormData()
  form.append('file', new File([content], name, { type }))
  return form
}
const urls = (url) => new URLSearchParams({ urls: url })

const answers = [
  await ask('LabelFile/', file('%PDF-1.7 an invoice', 'invoice.pdf', 'application/pdf')),
  await ask('LabelUrls/', urls('https://documents.saas.example/2026-001.pdf')),
  await ask('LabelFile/', file('name,iban', 'customers.csv', 'text/csv')),
  await ask('LabelFile/', file('x'.repeat(3_000_000), 'book.pdf', 'application/pdf')),
  await ask('LabelUrls/', urls('http://169.254.169.254/latest/meta-data')),
]
for (const answer of answers) console.log(JSON.stringify(answer))
