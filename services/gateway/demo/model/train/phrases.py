"""What: the known phrasings: how customers ask, and what the demo model answers.

Why: a 1.5-million-parameter model learns a closed set of habits; this file is that set, and the README lists it.
Invariant: phrasings used as *unseen* in heldout.py are not producible from here (heldout.py checks it).
`{n}` is an order number, `{i}` an item, `{t}` a topic, `{p}` a place, `{w}` some free words.
"""
import words as W

WHO = "I am a small demo model of Frontdesk."
ASK_NUMBER = "Which order number is it?"
UNKNOWN = "I do not know that."
HANDED_OFF = "A person will take over from here."

GREET = ["", "", "", "", "Hi! ", "Hello, ", "Hello! ", "Good morning. ", "Hey, ", "Hi there, ", "Good evening, ", "Excuse me, ", "Dear team, "]
TAIL = ["", "", "", "", " Thanks.", " Thank you!", " Please help.", " It is urgent.", " Thanks a lot."]
NUMBER = ["order {n}", "order {n}", "order {n}", "order #{n}", "order number {n}", "order no. {n}", "my order {n}", "my order #{n}", "the order {n}"]

ORDER = ["where is {o}?", "Where is {o}?", "where is {o}", "{o} has not arrived.", "status of {o} please", "What is the status of {o}?",
         "Can you check {o} for me?", "I am waiting for {o}.", "Has {o} shipped?", "my order number is {n}, where is it?",
         "I ordered a {i}, {o}. Where is it?", "Please track {o}", "When will {o} arrive?", "Look up {o}.", "Any news about {o}?",
         "I have not received {o} yet.", "Is {o} on its way?", "When do I get {o}?", "Could you look up {o}?", "Tell me the status of {o}.",
         "What happened to {o}?", "How is {o} doing?", "Has {o} been sent?", "{o}: where is it?", "I would like to know where {o} is.",
         "Track {o} please.", "Check {o}", "{o} is late.", "My parcel for {o} did not come.", "What about {o}?", "{o} status",
         "I am asking about {o}.", "Did you send {o}?", "Can you tell me when {o} will come?", "Show me {o}.", "Where is the {i} from {o}?"]
ORDER_OPEN = ["Where is my order?", "where is my order", "When will my order arrive?", "I want to track my order.", "My order has not arrived.",
              "What is the status of my order?", "Has my order shipped?", "Can you check my order?", "I am waiting for my order.",
              "My parcel has not arrived.", "Where is my parcel?", "Any news about my order?", "track my order please", "Where is the {i} I ordered?",
              "When do I get my {i}?", "I have not received my {i} yet."]
RETURN = ["I want to return {o}", "I want to return {o}.", "I would like to return {o}.", "please start a return for {o}", "Please start a return for {o}.",
          "I want to send back {o}.", "I want to send {o} back.", "Return {o} please.", "return {o}", "I need to return {o}.", "Start a return for {o}.",
          "Please let me return {o}.", "Can you start a return for {o}?", "I'd like to send back {o}.", "Please take {o} back.",
          "I am returning {o}.", "Create a return for {o}.", "{o} shall go back.", "I want a return for {o}.", "Could you start the return of {o}?"]
RETURN_REASON = ["{r}, {why}", "{r} because {why}.", "{r}, {why}.", "{r} {Why}.", "{Why}. {r}"]
RETURN_OPEN = ["I want to return my order.", "I want to start a return.", "Please start a return.", "I would like to send my order back.",
               "I want to return my order", "I need to return my order.", "start a return please"]
REPLY = ["{n}", "{n}", "{n}", "it is {n}", "It is {n}.", "The number is {n}.", "order {n}", "#{n}", "It's {n}, thanks", "number {n}", "{n} please",
         "my order number is {n}", "It is order {n}.", "Sure, {n}.", "the order number is {n}"]
HUMAN_A = ["I want to", "I would like to", "Can I", "Could I", "Please let me", "I need to", "May I", "let me", "I'd like to"]
HUMAN_B = ["talk to", "speak to", "speak with", "talk with", "chat with"]
HUMAN_C = ["a human", "a person", "a real person", "someone", "an agent", "an employee", "your staff", "customer service", "a manager", "somebody",
           "a colleague", "a human being", "the owner", "a human agent", "someone from your team"]
HUMAN = ["human please", "I need a human.", "Give me a human.", "agent", "Connect me with a person.", "Connect me to an agent please.",
         "Please call me.", "Can someone call me?", "I want a real person.", "No bot please.", "Hand me over to a human.", "Get me a manager.",
         "Is there a human I can talk to?", "Transfer me to a person.", "I do not want to talk to a machine."]
CHAT = {"Hello! How can I help you?": ["hello", "hi", "Hello!", "Hi", "Hi!", "hey", "Hey there", "Good morning", "Good morning!", "Good evening", "Good day",
                                       "hello there", "Hi there!", "Hallo", "greetings"],
        "You are welcome!": ["thanks", "Thank you!", "thank you", "Thanks!", "Thanks a lot!", "Thank you very much.", "great, thanks", "Perfect, thank you!",
                             "thx", "Many thanks", "ok thanks", "That helped, thanks."],
        WHO: ["who are you?", "Who are you?", "What is your name?", "what are you?", "Are you a bot?", "Are you an AI?", "Am I talking to a robot?",
              "who am I talking to?", "Who is this?", "are you human?", "Are you a real person?", "What model are you?", "Tell me who you are."],
        "Goodbye!": ["bye", "Goodbye!", "Bye bye", "See you!", "goodbye", "Bye!", "see you later", "Have a nice day!", "That is all, bye."]}
QUESTION = ["Do you sell {i}s?", "Do you sell a {i}?", "Can you repair my {i}?", "How much is a {i}?", "How much does the {i} cost?", "What is the {t}?",
            "Tell me about the {t}.", "Is there a {t}?", "When are you open?", "Are you open on Sunday?", "Where is your shop?", "Where are you?",
            "How do I return a {i}?", "Can I send a {i} back?", "How long does delivery take?", "Does the {i} have a warranty?", "What sizes do you have?",
            "How can I pay?", "Do you take credit cards?", "Do you ship to {p}?", "How much is shipping to {p}?", "Is shipping free?",
            "What does delivery cost?", "How long is the warranty?", "Is there a guarantee on the {i}?", "My {i} broke, is there a warranty?",
            "Can I pay with a {t}?", "Do you have a {i} in red?", "Is the {i} in stock?", "When will the {i} be back in stock?", "What is the {i} made of?",
            "How do I clean the {i}?", "Can I bring my dog?", "Do you offer a {t}?", "Do you have size {d}?", "Is the {i} under {d} euro?",
            "Can I get {d} {i}s by Friday?", "How many {i}s fit in a box?", "Do you have a shop in {p}?", "Can I change my address?",
            "How do I cancel my newsletter?", "I forgot my password.", "Can I get an invoice?", "Which {t} do you offer?", "Do you deliver on Saturday?",
            "What is your return policy?", "How many days do I have to return a {i}?", "Who pays for the return?", "What about the {t}?",
            "I have a question about the {t}.", "Can I try the {i} in the shop?", "Is the {i} waterproof?", "Where is the {i} made?", "{t}?",
            "Do you have vegan food?", "Is there parking?", "Can I book a table for {d} people?", "What is the weather in {p}?", "Who won the game?",
            "Tell me a joke.", "Wie lange dauert der Versand?", "Habt ihr am Sonntag offen?", "Was kostet die Lieferung?", "Quels sont les horaires?",
            "¿Cuánto cuesta el envío?", "Can you help me with {w}?", "What is {w}?", "How does {w} work?", "Do you know {w}?", "Is {w} possible?",
            "I am looking for a {i}.", "I need a {i} for my mother.", "Which {i} is the best?", "Can I return a {i} without the box?", "{w}?",
            "Why is the {i} so expensive?", "Does the {i} come with a {j}?", "What is the difference between the {i} and the {j}?"]
