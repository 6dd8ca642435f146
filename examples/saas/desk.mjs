// Airtable's own client, unmodified. `AIRTABLE_ENDPOINT_URL` is all that it knows of the gateway, which has the key.
import Airtable from 'airtable'

const leads = new Airtable({ apiKey: 'sallyport' }).base('appSalesDesk')('Leads')

const page = await leads.select({ pageSize: 10 }).firstPage()
for (const lead of page) console.log(JSON.stringify({ lead: lead.id, ...lead.fields }))

const id = page[0].id
for (const stage of ['talking', 'won']) {
  try {
    const lead = await leads.update(id, { Stage: stage })
    console.log(JSON.stringify({ stage: lead.get('Stage') }))
  } catch (refused) {
    console.log(JSON.stringify({ refused: refused.error, status: refused.statusCode }))
  }
}
