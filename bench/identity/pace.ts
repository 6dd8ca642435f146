/** Renewals a second of the paced run: about half of what two cores do, the database's share included. */
export const PACE = 500
