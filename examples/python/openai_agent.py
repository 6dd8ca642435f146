"""The OpenAI client, unmodified. `OPENAI_BASE_URL` is all that it knows of the gateway."""

from openai import OpenAI, PermissionDeniedError

client = OpenAI(api_key="sallyport")  # the gateway has the key, and no agent ever reads it

try:
    answer = client.chat.completions.create(
        model="small",
        max_completion_tokens=200,
        messages=[{"role": "user", "content": "Why was alert 17 raised?"}],
    )
    print(answer.choices[0].message.content)
except PermissionDeniedError as refused:
    print("refused:", refused.code, refused.message)
