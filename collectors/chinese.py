"""Chinese for every text that is spoken; a test holds it against the code."""

TEXTS: dict[str, str] = {
    "{said}. {remedy}": "{said}。{remedy}",
    "error {code}: {what}": "错误 {code}：{what}",
    "  fix   {remedy}": "  处理  {remedy}",
}
